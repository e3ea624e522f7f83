"""From what is asked for to recipes: what is left out is the base's usual."""

import math
from dataclasses import replace
from pathlib import Path

from PIL import Image

from ..bases import Base
from ..data.images import open_image
from ..data.views import cut
from ..errors import Error
from ..sampling.defaults import defaults_for
from ..sampling.recipe import Recipe, SecondPass

Size = int | tuple[int, int]
Picture = Image.Image | str | Path
STRENGTH = 0.6  # of drawing over a picture, when nobody says


def recipes(
    base: Base,
    prompt: str,
    negative: str,
    seed: int,
    count: int,
    *,
    steps: int | None,
    guidance: float | None,
    sampler: str | None,
    size: Size | None,
    clip_skip: int,
    image: Picture | None,
    strength: float | None,
    second_pass: SecondPass | None,
) -> list[Recipe]:
    """`count` recipes of successive seeds, checked. Raises `Error` for settings that can't work."""
    if count < 1:
        raise Error(f"count is {count}: give at least 1")
    if image is None and strength is not None:
        raise Error("strength says how much of a picture is drawn anew: give an image with it")
    usual = defaults_for(base)
    picture = open_image(Path(image)) if isinstance(image, str | Path) else image
    if size is None:
        size = usual.side if picture is None else _usual_size(picture, usual.side, base.vae_factor)
    width, height = (size, size) if isinstance(size, int) else size
    found = [
        Recipe(
            prompt,
            negative,
            seed + i,
            usual.steps if steps is None else steps,
            usual.guidance if guidance is None else guidance,
            sampler or usual.sampler,
            (width, height),
            clip_skip,
            strength=1.0 if picture is None else STRENGTH if strength is None else strength,
            second_pass=second_pass,
            image=picture,
        )
        for i in range(count)
    ]
    for recipe in found:
        recipe.check(base)
    return found if picture is None else [_over(recipe, picture) for recipe in found]


def _over(recipe: Recipe, picture: Image.Image) -> Recipe:
    """The recipe with the picture cut to its size, once that is known to be one."""
    return replace(recipe, image=cut(picture.convert("RGB"), recipe.size))


def _usual_size(picture: Image.Image, side: int, factor: int) -> tuple[int, int]:
    """A picture's proportions at the area that the base is best at."""
    scale = side / math.sqrt(picture.width * picture.height)
    width, height = (max(factor, round(side * scale / factor) * factor) for side in picture.size)
    return width, height
