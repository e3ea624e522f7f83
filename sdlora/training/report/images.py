"""Pictures as text within the page, small, so that it needs no other file."""

import base64
import io
from functools import lru_cache
from pathlib import Path

from PIL import Image

SAMPLE_SIDE, THUMBNAIL_SIDE = 320, 128  # pixels at most
QUALITY = 78


def data_uri(image: Image.Image, side: int) -> str:
    """The picture as WebP, no larger than `side`."""
    small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    small.save(content, "WEBP", quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(content.getvalue()).decode()


def sample_uri(path: Path) -> str:
    """A sample image; "" where it is gone or damaged."""
    try:
        return _remembered(path, path.stat().st_mtime_ns)
    except (OSError, ValueError, SyntaxError):
        return ""


@lru_cache(maxsize=512)
def _remembered(path: Path, _changed: int) -> str:
    """A page is written often, and its samples stay what they were."""
    with Image.open(path) as image:
        return data_uri(image, SAMPLE_SIDE)
