"""Putting a few images aside, so that training is judged on pictures it has not seen."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from sdlora.data.folder import Example

FEWEST_TO_SPLIT = 20
SMALLEST_HOLDOUT = 2


class Split(NamedTuple):
    """Examples to train on, examples held out, and a sentence for the user where none could be held out."""

    train: tuple[Example, ...]
    holdout: tuple[Example, ...]
    warning: str | None


def split_holdout(examples: Sequence[Example], seed: int, share: float = 0.1) -> Split:
    """Hold out `share` of the images, at least 2, chosen by seed and file contents; none of fewer than 20.

    An image's place follows from its own bytes: renaming or moving files changes nothing, one file more changes at
    most one or two places, and copies of a picture never lie on both sides.
    """
    ranks = {example.path: _rank(example, seed) for example in examples}
    distinct = sorted(set(ranks.values()))
    if len(distinct) < FEWEST_TO_SPLIT:
        warning = (
            f"Only {len(distinct)} different images: none is held out (that takes {FEWEST_TO_SPLIT}), "
            "so over-training will not be noticed; give more images or a holdout folder."
        )
        return Split(tuple(examples), (), warning)
    held = set(distinct[: max(SMALLEST_HOLDOUT, round(share * len(distinct)))])
    train = tuple(example for example in examples if ranks[example.path] not in held)
    return Split(train, tuple(example for example in examples if ranks[example.path] in held), None)


def _rank(example: Example, seed: int) -> bytes:
    content = hashlib.sha256(example.path.read_bytes()).digest()
    return hashlib.sha256(f"{seed}:".encode() + content).digest()
