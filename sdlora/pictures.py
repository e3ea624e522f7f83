"""Picture files with the text that says what made them: a PNG's text chunk `parameters`, else EXIF's UserComment."""

from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from .errors import Error
from .files import write_atomically

EXIF_IFD, USER_COMMENT = 0x8769, 0x9286
UNICODE = b"UNICODE\0"  # how UserComment says that UTF-16 follows
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


def save_picture(image: Image.Image, path: Path, text: str) -> None:
    """Write a PNG, JPEG or WebP, as the path ends, with `text` in it. Raises `Error` for another ending."""
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise Error(f"{path}: pictures are saved as {', '.join(FORMATS)}")
    if kind == "PNG":
        chunk = PngInfo()
        chunk.add_itxt("parameters", text) if not text.isascii() else chunk.add_text("parameters", text)
        write_atomically(path, lambda target: image.save(target, kind, pnginfo=chunk))
    else:
        exif = Image.Exif()
        exif.get_ifd(EXIF_IFD)[USER_COMMENT] = UNICODE + text.encode("utf-16-be")
        write_atomically(path, lambda target: image.save(target, kind, quality=95, exif=exif))


def open_picture(path: Path) -> tuple[Image.Image, str]:
    """A picture as RGB, and the text that says what made it ("" if there is none).

    Raises `Error` when the file is missing or no picture.
    """
    try:
        with Image.open(path) as image:
            text = image.info.get("parameters")
            comment = image.getexif().get_ifd(EXIF_IFD).get(USER_COMMENT)
            rgb = image.convert("RGB")
    except FileNotFoundError:
        raise Error(f"there is no picture {path}") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as problem:
        raise Error(f"{path} can't be read as a picture ({problem}): save it anew") from None
    if text is None and isinstance(comment, bytes) and comment.startswith(UNICODE):
        text = comment.removeprefix(UNICODE).decode("utf-16-be", "replace")
    return rgb, text if isinstance(text, str) else ""
