"""A small picture inside of an adapter file, where model lists look for it: ModelSpec's `modelspec.thumbnail`."""

import base64
import io
from pathlib import Path

from ..adapters.formats.header import read_header, write_metadata
from ..adapters.told import THUMBNAIL
from ..pictures import open_picture

SIDE = 256  # pixels at most; some 10 to 20 kB as JPEG
QUALITY = 85


def embed_thumbnail(adapter: Path, picture: Path) -> None:
    """Put the picture, made small, in the file's header. The tensors' bytes and their hash stay as they are."""
    metadata = read_header(adapter).metadata
    write_metadata(adapter, metadata | {THUMBNAIL: _data_url(picture)})


def _data_url(picture: Path) -> str:
    image, _ = open_picture(picture)
    image.thumbnail((SIDE, SIDE))
    content = io.BytesIO()
    image.save(content, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()
