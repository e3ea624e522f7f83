"""Pictures side by side, labelled."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

GAP, PAPER, INK = 6, "white", "#333333"


def labelled_grid(
    rows: Sequence[Sequence[Image.Image]],
    columns: Sequence[str],
    labels: Sequence[str] | None = None,
    *,
    cell: int | None = None,
) -> Image.Image:
    """Rows of equally many pictures with a caption above each column and, where given, one beside each row.

    `cell` is the side in pixels to which small pictures are enlarged; unset: as they are.
    """
    side = cell or rows[0][0].width
    font = ImageFont.load_default(size=max(12, side // 11))
    above = _height(font, columns) + 2 * GAP
    beside = (
        max((int(font.getlength(line)) for label in labels for line in label.split("\n")), default=0) + 2 * GAP
        if labels
        else GAP
    )
    height = round(side * rows[0][0].height / rows[0][0].width)
    sheet = Image.new("RGB", (beside + len(columns) * (side + GAP), above + len(rows) * (height + GAP)), PAPER)
    pen = ImageDraw.Draw(sheet)
    for x, text in enumerate(columns):
        left = beside + x * (side + GAP) + side // 2
        pen.multiline_text((left, above - GAP), text, fill=INK, font=font, anchor="md", align="center")
    for y, row in enumerate(rows):
        top = above + y * (height + GAP)
        if labels:
            pen.multiline_text(
                (beside - GAP, top + height // 2), labels[y], fill=INK, font=font, anchor="rm", align="right"
            )
        for x, picture in enumerate(row):
            sheet.paste(picture.resize((side, height), Image.Resampling.LANCZOS), (beside + x * (side + GAP), top))
    return sheet


def _height(font: ImageFont.FreeTypeFont | ImageFont.ImageFont, texts: Sequence[str]) -> int:
    return max(round(font.getbbox("Ag")[3] * 1.25) * (text.count("\n") + 1) for text in texts)
