"""Reading pictures: whatever a file holds becomes an upright RGB image on white, then the size that is trained."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from sdlora.errors import Error

# Pillow finds the format by content, not by name; only these decoders may run on a file that somebody sent.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
# A picture decodes to three or four bytes a pixel; beyond this a small file could fill the memory.
MAX_PIXELS = 2**27
ORIENTATION, FIRST_ON_ITS_SIDE = 0x0112, 5  # EXIF; 5 to 8 swap width and height


def open_image(path: Path, side: int | None = None) -> Image.Image:
    """The picture as 8-bit RGB: upright by its EXIF orientation, transparency on white, first frame of an animation.

    For a thumbnail of `side` pixels a JPEG is decoded smaller than it is, which takes a tenth of the time. Raises Error
    where it cannot be decoded or is too large to be decoded safely.
    """
    try:
        with _header_read(path) as image:
            if side:
                image.draft("RGB", (side, side))
            image.load()
            return _on_white(_upright(image))
    except Exception as problem:  # decoders raise whatever they stumble over: OSError, SyntaxError, struct.error, …
        raise _unreadable(path, problem) from problem


def open_alpha(path: Path) -> Image.Image | None:
    """An image's opacity, upright, as 8-bit grey; None where it has no transparency. Raises `Error` as `open_image`."""
    try:
        with _header_read(path) as image:
            if not image.has_transparency_data:
                return None
            image.load()
            return _upright(image).convert("RGBA").getchannel("A")
    except Exception as problem:
        raise _unreadable(path, problem) from problem


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height of what `open_image` gives, from the header alone. Raises `Error` as it does."""
    try:
        with _header_read(path) as image:
            turned = image.getexif().get(ORIENTATION, 1) >= FIRST_ON_ITS_SIDE
            return image.size[::-1] if turned else image.size
    except Exception as problem:
        raise _unreadable(path, problem) from problem


def broken_because(path: Path) -> str | None:
    """Why `open_image` would fail, None for a sound file. Decodes JPEGs at an eighth of their size, so it is quick."""
    try:
        with _header_read(path) as image:
            image.draft("RGB", (1, 1))
            image.load()
    except Exception as problem:  # as above
        return _reason(problem)
    return None


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


def _unreadable(path: Path, problem: Exception) -> Error:
    return Error(f"The image '{path}' cannot be read ({_reason(problem)}): replace it or take it out.")


def _reason(problem: Exception) -> str:
    if isinstance(problem, UnidentifiedImageError):
        return "it is no picture of a known format"
    return (str(problem) or type(problem).__name__).rstrip(".")
