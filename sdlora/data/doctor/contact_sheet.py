"""A contact sheet: every image, what its crop keeps, its bucket and its loss."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from ...errors import Error, printable
from ...files import write_atomically
from ..images import open_image
from .framing import MUCH_LOST, Framed

SIDE = 192  # pixels of a thumbnail's longer side
ACROSS = 8
A_PAGE = 160  # images; more would make a picture that few viewers open
_GAP, _LINE = 8, 16
_FRAME, _ALARM = (30, 120, 255), (220, 40, 30)


def write_sheet(frames: Sequence[Framed], out: Path) -> list[Path]:
    """Write FILE.png, and FILE-2.png and so on where one page does not hold all; the largest losses come first.

    Outside of the crop the thumbnails are dimmed. Raises `Error` for another ending, or without any image.
    """
    if out.suffix.lower() != ".png":
        raise Error(f"--sheet {out}: a contact sheet is a .png")
    if not frames:
        raise Error("there is no image that could be used, so no contact sheet is written")
    ordered = sorted(frames, key=lambda frame: (-round(frame.lost, 2), frame.bucket, frame.picture.name))
    written = []
    for number, start in enumerate(range(0, len(ordered), A_PAGE), start=1):
        path = out if number == 1 else out.with_name(f"{out.stem}-{number}.png")
        page = _page(ordered[start : start + A_PAGE])
        write_atomically(path, lambda target, page=page: page.save(target, "PNG"))  # type: ignore[misc]
        written.append(path)
    return written


def _page(frames: Sequence[Framed]) -> Image.Image:
    across = min(ACROSS, len(frames))
    width, height = SIDE + _GAP, SIDE + 3 * _LINE + _GAP
    page = Image.new("RGB", (across * width + _GAP, -(-len(frames) // across) * height + _GAP), "white")
    for index, frame in enumerate(frames):
        left, top = _GAP + index % across * width, _GAP + index // across * height
        small = _thumbnail(frame)
        page.paste(small, (left + (SIDE - small.width) // 2, top + (SIDE - small.height) // 2))
        _write_below(ImageDraw.Draw(page), frame, left, top + SIDE + 2)
    return page


def _thumbnail(frame: Framed) -> Image.Image:
    image = open_image(frame.picture.look.path)
    scale = SIDE / max(image.size)
    small = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    left, top, right, bottom = (round(side * scale) for side in frame.view.box)
    right, bottom = max(right, left + 2), max(bottom, top + 2)
    dimmed = ImageEnhance.Brightness(small).enhance(0.4)
    dimmed.paste(small.crop((left, top, right, bottom)), (left, top))
    ImageDraw.Draw(dimmed).rectangle((left, top, right - 1, bottom - 1), outline=_FRAME, width=2)
    return dimmed


def _write_below(pen: ImageDraw.ImageDraw, frame: Framed, left: int, top: int) -> None:
    width, height = frame.picture.look.size
    enlarged = f", enlarged {frame.view.upscaled:.1f}×" if frame.view.upscaled > 1.005 else ""
    lines = [
        (printable(Path(frame.picture.name).name), "black"),
        (f"{width}×{height} → {frame.bucket[0]}×{frame.bucket[1]}", "black"),
        (f"loses {frame.lost:.0%}{enlarged}", _ALARM if frame.lost > MUCH_LOST else "black"),
    ]
    for number, (text, colour) in enumerate(lines):
        pen.text((left, top + number * _LINE), _fitting(text), fill=colour, font=_font())


def _fitting(text: str) -> str:
    while _font().getlength(text) > SIDE:
        text = f"{text[:-2]}…"
    return text


@cache
def _font() -> ImageFont.FreeTypeFont:
    """matplotlib's: Pillow's own has neither accents nor Greek nor Cyrillic."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), 12)
