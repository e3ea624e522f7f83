"""Pictures to choose from for sharing: drawn with the adapter before, of a sweep, or from elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from itertools import islice
from pathlib import Path

from PIL import Image

from ..datasets.thumbnails import thumbnail

MOST_LOOKED_AT, MOST_FOUND = 150, 12  # of the newest pictures
# Two things to press: the picture itself, and the weight that it was drawn at.
ON_LOAD = """
element.addEventListener('click', event => {
    const sample = event.target.closest('[data-sample]'), weight = event.target.closest('[data-weight]');
    if (weight) trigger('weigh', {weight: Number(weight.dataset.weight)});
    else if (sample) trigger('pick', {sample: Number(sample.dataset.sample)});
});
"""


@dataclass(frozen=True)
class Sample:
    """A picture that may go along; `weight` is that of the sweep that it is of."""

    path: Path
    picked: bool = False
    weight: float | None = None


def drawn_with(name: str, outputs: Path) -> list[Sample]:
    """The newest pictures of the workspace in whose parameters the adapter is named."""
    newest = sorted(outputs.glob("*.png"), key=lambda path: path.name, reverse=True)[:MOST_LOOKED_AT]
    return [Sample(path) for path in islice((path for path in newest if f"<lora:{name}:" in _text(path)), MOST_FOUND)]


def gallery(samples: Sequence[Sample]) -> str:
    """Buttons with pictures; those of a sweep have their weight below."""
    if not samples:
        return '<p class="hint">No pictures yet: draw a sweep, or add some of your own.</p>'
    return f'<ul class="samples" aria-label="Pictures to share">{"".join(map(_one, range(99), samples))}</ul>'


def _one(number: int, sample: Sample) -> str:
    weight = ""
    if sample.weight is not None:
        told = f"{sample.weight:g}"
        weight = f'<button type="button" class="chip" data-weight="{told}">use weight {told}</button>'
    return (
        f'<li><button type="button" data-sample="{number}" aria-pressed="{str(sample.picked).lower()}" '
        f'aria-label="Picture {number + 1}"><img alt="" src="{escape(thumbnail(sample.path))}"></button>{weight}</li>'
    )


@lru_cache(maxsize=4096)
def _text(path: Path) -> str:
    """What a PNG of ours says of its making; it stands before the pixels, which are not read."""
    try:
        with Image.open(path) as image:
            return str(image.info.get("parameters", ""))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""
