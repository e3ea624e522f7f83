"""Small pictures inside of a page's HTML, so that no folder of the user's needs to be served."""

import base64
from functools import lru_cache
from io import BytesIO
from pathlib import Path

from sdlora.data.images import open_image
from sdlora.errors import Error

EMPTY = "data:,"


def thumbnail(path: Path, side: int = 192) -> str:
    """The picture as a `data:` address, at most `side` pixels wide and high; one that can't be read is empty."""
    try:
        facts = path.stat()
        return _thumbnail(path, side, facts.st_mtime_ns, facts.st_size)
    except (Error, OSError):
        return EMPTY


@lru_cache(maxsize=512)
def _thumbnail(path: Path, side: int, _modified: int, _size: int) -> str:
    image = open_image(path)
    image.thumbnail((side, side))
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
