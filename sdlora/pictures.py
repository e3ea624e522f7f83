"""Picture files with the texts that say what made them.

`parameters` is the text that A1111 writes and most tools read: a PNG's text chunk of that name, else EXIF UserComment.
`sdlora` is JSON with what that text can't say: a PNG's text chunk of that name, else EXIF MakerNote.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from .errors import Error
from .files import write_atomically

EXIF_IFD, MAKER_NOTE, USER_COMMENT = 0x8769, 0x927C, 0x9286
UNICODE = b"UNICODE\0"  # how UserComment says that UTF-16 follows
ASCII = b"ASCII\0\0\0"
OURS = b"sdlora\0"  # how MakerNote says whose it is
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


class PictureTexts(NamedTuple):
    """What a file says of its making; "" and {} where it says nothing."""

    parameters: str
    details: dict[str, Any]


def save_picture(image: Image.Image, path: Path, text: str, details: Mapping[str, Any] | None = None) -> None:
    """Write a PNG, JPEG or WebP, as the path ends, with `text` as `parameters` and `details` as `sdlora` in it.

    Raises `Error` for another ending.
    """
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise Error(f"{path}: pictures are saved as {', '.join(FORMATS)}")
    more = json.dumps(dict(details)) if details else ""  # ASCII, as JSON is unless asked for more
    if kind == "PNG":
        chunk = PngInfo()
        chunk.add_itxt("parameters", text) if not text.isascii() else chunk.add_text("parameters", text)
        if more:
            chunk.add_text("sdlora", more)
        write_atomically(path, lambda target: image.save(target, kind, pnginfo=chunk))
    else:
        exif = Image.Exif()
        exif.get_ifd(EXIF_IFD)[USER_COMMENT] = UNICODE + text.encode("utf-16-be")
        if more:
            exif.get_ifd(EXIF_IFD)[MAKER_NOTE] = OURS + more.encode()
        write_atomically(path, lambda target: image.save(target, kind, quality=95, exif=exif))


def open_picture(path: Path) -> tuple[Image.Image, str]:
    """A picture as RGB, and the text that says what made it ("" if there is none).

    Raises `Error` when the file is missing or no picture.
    """
    rgb, texts = _open(path)
    return rgb, texts.parameters


def read_texts(path: Path) -> PictureTexts:
    """What a picture file says of its making. Raises `Error` when it is missing or no picture."""
    return _open(path)[1]


def _open(path: Path) -> tuple[Image.Image, PictureTexts]:
    try:
        with Image.open(path) as image:
            rgb = image.convert("RGB")  # reads all of it, and the chunks after the pixels with it
            info, exif = image.info, image.getexif().get_ifd(EXIF_IFD)
    except FileNotFoundError:
        raise Error(f"there is no picture {path}") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as problem:
        raise Error(f"{path} can't be read as a picture ({problem}): save it anew") from None
    note = exif.get(MAKER_NOTE)
    ours = note.removeprefix(OURS) if isinstance(note, bytes) and note.startswith(OURS) else info.get("sdlora", "")
    text = info.get("parameters") or _comment(exif.get(USER_COMMENT))
    return rgb, PictureTexts(text if isinstance(text, str) else "", _details(ours))


def _comment(raw: object) -> str:
    """The text of a UserComment; one without a mark of its encoding is taken as UTF-8."""
    if isinstance(raw, str):
        return raw
    if not isinstance(raw, bytes):
        return ""
    if raw.startswith(UNICODE):
        raw = raw.removeprefix(UNICODE)
        # EXIF leaves the byte order open: A1111 writes big-endian, others as the file; of ASCII every other byte is 0
        little = raw[1::2].count(0) > raw[0::2].count(0)
        return raw.decode("utf-16-le" if little else "utf-16-be", "replace")
    return raw.removeprefix(ASCII).decode("utf-8", "replace").strip("\0")


def _details(text: str | bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
