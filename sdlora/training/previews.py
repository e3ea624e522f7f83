"""Sample images of a run, from fixed seeds, so that steps can be compared."""

from collections.abc import Sequence
from pathlib import Path

from ..bases import Base
from ..data.folder import Example
from ..files import write_atomically
from ..sampling.defaults import defaults_for
from ..sampling.denoise import Recipe, draw

PROMPTS = 2
SEED = 1


def usual_prompts(holdout: Sequence[Example], train: Sequence[Example]) -> list[str]:
    """Captions of pictures that are not trained on, where there are such."""
    captions = [example.caption for example in (*holdout, *train) if example.caption]
    return list(dict.fromkeys(captions))[:PROMPTS]


def draw_previews(base: Base, prompts: Sequence[str], side: int, step: int, folder: Path) -> list[Path]:
    """One picture a prompt, `step-000100-0.png`, …, at the base's usual settings."""
    usual = defaults_for(base)
    written = []
    for i, prompt in enumerate(prompts):
        recipe = Recipe(prompt, "", SEED + i, usual.steps, usual.guidance, usual.sampler, (side, side))
        picture = draw(base, recipe)
        path = folder / f"step-{step:06d}-{i}.png"
        write_atomically(path, lambda target, picture=picture: picture.save(target, "PNG"))  # type: ignore[misc]
        written.append(path)
    return written
