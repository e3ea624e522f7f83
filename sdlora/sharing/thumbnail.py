"""Small pictures of adapters: one inside of a file, where model lists look for it (ModelSpec's `modelspec.thumbnail`),
and what is shown of a file: the picture beside it, else the one inside."""

import base64
import io
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageOps

from ..adapters.formats.header import glance, read_header, write_metadata
from ..adapters.sidecar import preview_file
from ..adapters.told import THUMBNAIL
from ..errors import Error
from ..pictures import FORMATS, open_picture

SIDE = 256  # pixels at most; some 10 to 20 kB as JPEG
QUALITY = 85
MOST_PIXELS = 50_000_000  # of a picture that is made small; a hostile one would fill the memory


def embed_thumbnail(adapter: Path, picture: Path) -> None:
    """Put the picture, made small, in the file's header. The tensors' bytes and their hash stay as they are."""
    metadata = read_header(adapter).metadata
    write_metadata(adapter, metadata | {THUMBNAIL: _data_url(picture)})


def thumbnail(adapter: Path, side: int = SIDE) -> bytes | None:
    """What is shown of an adapter file, as WebP of at most `side` pixels; None where no picture of it can be read.

    The picture is decoded and encoded anew: nothing but its pixels comes from the file.
    """
    beside = preview_file(adapter)
    try:
        if beside:
            with beside.open("rb") as file:
                return _small(file, side)
        content = glance(adapter)[1].get(THUMBNAIL, "").partition(";base64,")[2]
        return _small(io.BytesIO(base64.b64decode(content)), side) if content else None
    except (Error, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _small(file: BinaryIO, side: int) -> bytes | None:
    with Image.open(file, formats=sorted(set(FORMATS.values()))) as image:
        if image.width * image.height > MOST_PIXELS:
            return None
        image.draft("RGB", (side, side))  # of a JPEG, only as much is decoded as is needed
        small = ImageOps.exif_transpose(image).convert("RGB")
    small.thumbnail((side, side))
    content = io.BytesIO()
    small.save(content, "WEBP", quality=QUALITY)
    return content.getvalue()


def _data_url(picture: Path) -> str:
    image, _ = open_picture(picture)
    image.thumbnail((SIDE, SIDE))
    content = io.BytesIO()
    image.save(content, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()
