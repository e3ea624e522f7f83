"""Reading pictures: whatever a file holds becomes an upright RGB image on white, then the size that is trained."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from sdlora.errors import Error

# Pillow finds the format by content, not by name; only these decoders may run on a file that somebody sent.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
# A picture decodes to three or four bytes a pixel; beyond this a small file could fill the memory.
MAX_PIXELS = 2**27


@dataclass(frozen=True)
class Fitted:
    """An image brought to a size: `lost` is the share of its area cut away, `upscaled` the enlargement (1.0: none)."""

    image: Image.Image
    lost: float
    upscaled: float


def open_image(path: Path) -> Image.Image:
    """The picture as 8-bit RGB: upright by its EXIF orientation, transparency on white, first frame of an animation.

    Raises Error where it cannot be decoded or is too large to be decoded safely.
    """
    try:
        with _header_read(path) as image:
            image.load()
            return _on_white(_upright(image))
    except Exception as problem:  # decoders raise whatever they stumble over: OSError, SyntaxError, struct.error, …
        raise Error(f"The image '{path}' cannot be read ({_reason(problem)}): replace it or take it out.") from problem


def broken_because(path: Path) -> str | None:
    """Why `open_image` would fail, None for a sound file. Decodes JPEGs at an eighth of their size, so it is quick."""
    try:
        with _header_read(path) as image:
            image.draft("RGB", (1, 1))
            image.load()
    except Exception as problem:  # as above
        return _reason(problem)
    return None


def fit(image: Image.Image, width: int, height: int) -> Fitted:
    """Cut the centre of the wanted aspect ratio and resize it (Lanczos) to width × height pixels.

    Resampling straight from the fractional box keeps the proportions exact, which rounding the resized side would not.
    """
    scale = max(width / image.width, height / image.height)
    box_width, box_height = min(width / scale, image.width), min(height / scale, image.height)
    left, top = (image.width - box_width) / 2, (image.height - box_height) / 2
    box = (left, top, left + box_width, top + box_height)
    resized = image.resize((width, height), Image.Resampling.LANCZOS, box=box)
    lost = 1 - box_width * box_height / (image.width * image.height)
    return Fitted(resized, max(lost, 0.0), max(scale, 1.0))


def to_array(image: Image.Image) -> NDArray[np.float32]:
    """RGB image -> float32 (3, height, width) in [-1, 1], as Stable Diffusion's VAE takes it."""
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32) / 127.5 - 1
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _header_read(path: Path) -> Image.Image:
    image = Image.open(path, formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise ValueError(f"{image.width} × {image.height} pixels are more than the {MAX_PIXELS:,} that are read")
    return image


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a picture with garbled EXIF data is still one; it is taken as it is stored
        return image


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion would clip it at 255
        eight_bits = np.asarray(image).astype(np.float32) / 257
        return Image.fromarray(eight_bits.round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")


def _reason(problem: Exception) -> str:
    if isinstance(problem, UnidentifiedImageError):
        return "it is no picture of a known format"
    return (str(problem) or type(problem).__name__).rstrip(".")
