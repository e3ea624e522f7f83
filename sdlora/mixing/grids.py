"""Pictures side by side, labelled."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

GAP, PAPER, INK = 6, "white", "#333333"
MOST_LINES = 6  # of a label; a prompt may be longer


def labelled_grid(
    rows: Sequence[Sequence[Image.Image]],
    columns: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    *,
    cell: int | None = None,
) -> Image.Image:
    """Rows of equally many pictures with captions above the columns and beside the rows, where given.

    `cell` is the width in pixels to which pictures are brought; unset: as they are. Long captions are wrapped.
    """
    side = cell or rows[0][0].width
    font = _font(max(12, side // 11))
    columns = [_wrapped(text, font, side) for text in columns or ()]
    labels = [_wrapped(text, font, 2 * side) for text in labels or ()]
    above = max((_size(text, font)[1] for text in columns), default=-GAP) + 2 * GAP
    beside = max((_size(text, font)[0] for text in labels), default=-GAP) + 2 * GAP
    height = round(side * rows[0][0].height / rows[0][0].width)
    size = (beside + len(rows[0]) * (side + GAP), above + len(rows) * (height + GAP))
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    for x, text in enumerate(columns):
        left = beside + x * (side + GAP) + side // 2
        pen.multiline_text((left, above - GAP), text, fill=INK, font=font, anchor="md", align="center")
    for y, text in enumerate(labels):
        middle = above + y * (height + GAP) + height // 2
        pen.multiline_text((beside - GAP, middle), text, fill=INK, font=font, anchor="rm", align="right")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            place = beside + x * (side + GAP), above + y * (height + GAP)
            sheet.paste(picture.resize((side, height), Image.Resampling.LANCZOS), place)
    return sheet


def titled_sheets(sheets: Sequence[Image.Image], titles: Sequence[str], size: int) -> Image.Image:
    """Sheets of one size, each below its title of `size` pixels: beside each other if they are higher than wide, else
    one below the other."""
    font = _font(size)
    width, height = sheets[0].size
    titles = [_wrapped(title, font, width - 2 * GAP) for title in titles]
    above = max(_size(title, font)[1] for title in titles) + 3 * GAP
    across = len(sheets) if height > width else 1
    together = (across * width, (above + height) * (len(sheets) // across))
    page = Image.new("RGB", together, PAPER)
    pen = ImageDraw.Draw(page)
    for index, (sheet, title) in enumerate(zip(sheets, titles, strict=True)):
        left, top = (index * width, 0) if across > 1 else (0, index * (above + height))
        pen.multiline_text((left + width // 2, top + 2 * GAP), title, fill="black", font=font, anchor="ma")
        page.paste(sheet, (left, top + above))
    return page


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """matplotlib's: Pillow's own has neither accents nor Greek nor Cyrillic."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)


def _size(text: str, font: ImageFont.FreeTypeFont) -> tuple[int, int]:
    lines = text.split("\n")
    return max(round(font.getlength(line)) for line in lines), round(font.size * 1.4) * len(lines)


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """In lines of at most `width` pixels, broken between words where that can be; cut after `MOST_LINES`."""
    lines = [line for part in text.split("\n") for line in _lines(part.split(), font, width)]
    return "\n".join(lines if len(lines) <= MOST_LINES else [*lines[: MOST_LINES - 1], f"{lines[MOST_LINES - 1]} …"])


def _lines(words: list[str], font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    lines = [""]
    for word in words:
        if font.getlength(f"{lines[-1]} {word}".strip()) <= width:
            lines[-1] = f"{lines[-1]} {word}".strip()
            continue
        lines.append("")
        for letter in word:
            if font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines if lines[0] or len(lines) == 1 else lines[1:]
