"""Masks: which part of an image counts. White counts, black does not; else an image's own transparency says it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import Error
from .images import open_alpha, open_image
from .views import View

ENDING = "-mask"


def mask_beside(image: Path) -> Path | None:
    """`fox-mask.png` for `fox.jpg`, if it is there."""
    found = image.with_name(f"{image.stem}{ENDING}.png")
    return found if found.is_file() else None


def without_masks(images: Sequence[Path]) -> list[Path]:
    """The pictures that are no masks of others."""
    stems = {(path.parent, path.stem) for path in images}
    return [
        path
        for path in images
        if not (path.stem.endswith(ENDING) and (path.parent, path.stem.removesuffix(ENDING)) in stems)
    ]


def mask_of(path: Path, mask: Path | None, view: View, factor: int) -> NDArray[np.float32] | None:
    """The mask of a view, (1, height / factor, width / factor) from 0 to 1; None where there is none.

    Raises `Error` for a mask of another size than its image, or without anything white.
    """
    whole = open_image(mask).convert("L") if mask else open_alpha(path)
    if whole is None:
        return None
    if mask and whole.size != (size := open_image(path).size):
        sizes = f"{whole.width}x{whole.height}, its image {size[0]}x{size[1]}"
        raise Error(f"The mask '{mask}' is {sizes}: make it as large.")
    small = view.of(whole).resize((view.size[0] // factor, view.size[1] // factor), Image.Resampling.BOX)
    values = np.asarray(small, dtype=np.float32)[None] / np.float32(255)
    if not values.any():
        raise Error(f"The mask of '{path}' is all black within what is trained on: nothing of the image would count.")
    return values
