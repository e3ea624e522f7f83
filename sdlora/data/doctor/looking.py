"""One image file: what is in it and how it differs from a plain upright RGB picture."""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from ...errors import Error
from ..images import FORMATS, MAX_PIXELS, ORIENTATION, open_image
from .likeness import Fingerprint, fingerprint, mirrored

Fact = TypeVar("Fact")
ENDINGS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jfif"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
}
_PNG, _PNG_DEPTH = b"\x89PNG\r\n\x1a\n", 24  # a PNG's 25th byte says how many bits a channel has
_TOO_LARGE = f"it has more than the {MAX_PIXELS:,} pixels that are read"
_SAMPLE, _ALIKE = 64, 6  # blankness is looked for at 64 × 64 pixels; values so near are one colour
_GREY_WITHIN = 4  # a JPEG's greys are not quite grey
_QUICK_SIDE = 128  # a JPEG can be decoded so small in an eighth of the time, and a fingerprint needs no more


@dataclass(frozen=True)
class Header:
    """What a file says of itself. `deep`: more than 8 bits a channel; `profile`: one other than sRGB; `clear`: the
    share that is transparent, None without an alpha channel."""

    format: str
    mode: str
    frames: int
    rotated: bool
    deep: bool
    profile: str
    clear: float | None


@dataclass(frozen=True)
class Look:
    """What an image is: upright `size` in pixels, hashes of its bytes and of its pixels, fingerprints, which share of
    it is one `plain` colour, and whether it is without colour (`grey`)."""

    path: Path
    header: Header
    size: tuple[int, int]
    bytes_hash: str
    pixels_hash: str
    print: Fingerprint
    mirrored: Fingerprint
    plain: float
    grey: bool


@dataclass(frozen=True)
class Fault:
    """Why an image can't be used: the kind of finding, and the reason in words."""

    path: Path
    kind: str
    reason: str


def look_at(path: Path) -> Look | Fault:
    """Read an image whole, as training would; any trouble becomes a `Fault`."""
    try:
        with path.open("rb") as file:
            bytes_hash = hashlib.file_digest(file, "sha256").hexdigest()
        if not path.stat().st_size:
            return Fault(path, "empty-file", "it holds no bytes")
        header = _header(path)
        if isinstance(header, Fault):
            return header
        image = open_image(path)
    except (Error, OSError) as problem:
        return Fault(path, "truncated", _short(problem))
    pixels = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()
    small = image.reduce(max(1, min(image.size) // _QUICK_SIDE))
    return Look(
        path,
        header,
        image.size,
        bytes_hash,
        pixels,
        fingerprint(small),
        mirrored(small),
        plain=_plain(small),
        grey=_is_grey(small),
    )


def quick_print(path: Path) -> Fingerprint | None:
    """The fingerprint without reading more of the picture than it needs; None for a broken one."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                return None
            image.draft("RGB", (_QUICK_SIDE, _QUICK_SIDE))
            return fingerprint(image.convert("RGB"))
    except Exception:  # decoders raise whatever they stumble over
        return None


def _header(path: Path) -> Header | Fault:
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                return Fault(path, "too-large", _TOO_LARGE)
            return Header(
                format=image.format or "",
                mode=image.mode,
                frames=_told(lambda: int(getattr(image, "n_frames", 1)), 1),
                rotated=_told(lambda: int(image.getexif().get(ORIENTATION, 1)) > 1, False),
                deep=image.mode.startswith("I") or _is_deep_png(path),
                profile=_told(lambda: _profile(image.info.get("icc_profile")), ""),
                clear=_told(lambda: _clear(image), None),
            )
    except Image.DecompressionBombError:
        return Fault(path, "too-large", _TOO_LARGE)
    except UnidentifiedImageError:
        return Fault(path, "no-picture", "it is no picture of a format that is read")
    except Exception as problem:  # decoders raise whatever they stumble over
        return Fault(path, "truncated", _short(problem))


def _told(tell: Callable[[], Fact], otherwise: Fact) -> Fact:
    """A fact beside the picture; garbled EXIF data, frames or profiles are no fault of the picture itself."""
    try:
        return tell()
    except Exception:  # decoders raise whatever they stumble over
        return otherwise


def _is_deep_png(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(_PNG_DEPTH + 1)
    return start.startswith(_PNG) and start[_PNG_DEPTH] == 16


def _profile(icc: bytes | None) -> str:
    """The name of a colour profile other than sRGB."""
    if not icc:
        return ""
    name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(icc))).strip()
    return "" if "srgb" in name.lower() else name


def _clear(image: Image.Image) -> float | None:
    """The share of it that is transparent; None where it has no alpha channel."""
    if not image.has_transparency_data:
        return None
    alpha = np.asarray(image.convert("RGBA").getchannel("A"), dtype=np.float32)
    return float(1 - alpha.mean() / 255)


def _plain(image: Image.Image) -> float:
    """The share of an image that is nearly of its median colour."""
    pixels = np.asarray(image.resize((_SAMPLE, _SAMPLE), Image.Resampling.BOX), dtype=np.float32).reshape(-1, 3)
    return float((np.abs(pixels - np.median(pixels, axis=0)).max(axis=1) <= _ALIKE).mean())


def _is_grey(image: Image.Image) -> bool:
    pixels = np.asarray(image, dtype=np.int16)
    return int((pixels.max(axis=2) - pixels.min(axis=2)).max()) <= _GREY_WITHIN


def _short(problem: Exception) -> str:
    return (str(problem.__cause__ or problem) or type(problem).__name__).rstrip(".")
