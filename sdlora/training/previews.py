"""Sample images of a run, from fixed seeds, so that steps can be compared."""

from collections.abc import Sequence
from pathlib import Path

from ..bases import Base
from ..data.folder import Example
from ..files import write_atomically
from ..sampling.defaults import defaults_for
from ..sampling.denoise import always, draw, prompt_context
from ..sampling.recipe import Recipe

PROMPTS = 2
SEED = 1


def usual_prompts(holdout: Sequence[Example], train: Sequence[Example]) -> list[str]:
    """Captions of pictures that are not trained on, where there are such."""
    captions = [example.caption for example in (*holdout, *train) if example.caption]
    return list(dict.fromkeys(captions))[:PROMPTS]


class Previews:
    """One picture a prompt whenever asked, at the base's usual settings. Prompts are encoded once unless the text
    encoder trains, so that it need not be kept."""

    def __init__(self, base: Base, prompts: Sequence[str], side: int, *, encoder_trains: bool) -> None:
        usual = defaults_for(base)
        self._base = base
        self._recipes = [
            Recipe(prompt, "", SEED + i, usual.steps, usual.guidance, usual.sampler, (side, side))
            for i, prompt in enumerate(prompts)
        ]
        self._encoded = None if encoder_trains else {r: always(prompt_context(base, r)) for r in self._recipes}

    def draw(self, step: int, folder: Path) -> list[Path]:
        """Write `step-000100-0.png`, … into the folder."""
        written = []
        for i, recipe in enumerate(self._recipes):
            picture = draw(self._base, recipe, prepare=self._encoded.__getitem__ if self._encoded else None)
            path = folder / f"step-{step:06d}-{i}.png"
            write_atomically(path, lambda target, picture=picture: picture.save(target, "PNG"))  # type: ignore[misc]
            written.append(path)
        return written
