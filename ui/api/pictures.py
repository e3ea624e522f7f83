"""Pictures as text, both ways."""

import base64
import binascii
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image

from sdlora.data.images import open_image, upright_size
from sdlora.errors import Error
from sdlora.pictures import PictureTexts, read_texts

MOST_PIXELS = 4096 * 4096  # a few kilobytes can be a picture that fills the memory


def encoded(file: bytes) -> str:
    """A file as base64."""
    return base64.b64encode(file).decode("ascii")


def encoded_preview(picture: Image.Image) -> str:
    """A picture as a PNG in base64."""
    file = BytesIO()
    picture.save(file, "PNG")
    return encoded(file.getvalue())


def decoded(text: str, what: str, folder: Path) -> Image.Image:
    """The RGB picture of a base64 text. `folder` is for temporary files. Raises `Error`, naming it as `what`."""
    with _file(text, what, folder) as path:
        return open_image(path)


def texts(text: str, what: str, folder: Path) -> PictureTexts:
    """What a picture in base64 says of its making. Raises `Error` as `decoded` does."""
    with _file(text, what, folder) as path:
        return read_texts(path)


@contextmanager
def _file(text: str, what: str, folder: Path) -> Iterator[Path]:
    """A picture's file for a moment, once its header is known to be harmless."""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Error(f"{what} is not base64: send the picture itself; addresses are not followed") from None
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = Path(temporary) / "picture"
        path.write_bytes(content)
        try:
            width, height = upright_size(path)
            if width * height > MOST_PIXELS:
                raise Error(f"{what} has {width} × {height} pixels: {MOST_PIXELS:,} are taken")
            yield path
        except Error as problem:
            if str(path) in str(problem):  # a place that means nothing to the client
                raise Error(f"{what} can't be read as a picture: send a PNG, JPEG or WebP") from None
            raise
