"""Sample images of a run, from fixed seeds, so that steps can be compared with each other and with the base."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from ..bases import Base
from ..data.folder import Example
from ..errors import Error
from ..pictures import save_picture
from ..sampling.denoise import Asked, always, draw, prompt_context
from ..sampling.recipe import Recipe
from .config import ResolvedConfig
from .injection import Parts, weighed
from .learned_tokens import tokens_of
from .progress import Reporter
from .sample_index import Sample, SampleIndex
from .sample_prompts import read_lines, recipes_of

PROMPTS = 2


def usual_prompts(holdout: Sequence[Example], train: Sequence[Example]) -> list[str]:
    """Captions of pictures that are not trained on, where there are such."""
    captions = [" ".join(example.caption.split()) for example in (*holdout, *train)]
    # two hyphens would begin an option
    return list(dict.fromkeys(caption.replace(" --", " - ") for caption in captions if caption))[:PROMPTS]


class Previews:
    """A picture for each prompt and weight whenever asked; before a prompt's first, the base's own, which is kept as
    that of step 0 at weight 0.

    A prompt is encoded once, unless the text encoder trains: then each weight and step reads it in its own way.
    """

    def __init__(
        self, base: Base, config: ResolvedConfig, folder: Path, reporter: Reporter, *, encoder_trains: bool
    ) -> None:
        self._base, self._config, self._folder, self._reporter = base, config, folder, reporter
        self._encoder_trains = encoder_trains
        self._index = SampleIndex(folder)
        self._recipes: dict[int, Recipe] = {}
        self._encoded: dict[Recipe, Asked] = {}
        self._lines: list[str] | None = None
        self._read()

    def draw(self, step: int, parts: Parts) -> list[Path]:
        """Draw what is due after a step, with the layers as they are now; the files, the base's pictures too."""
        self._read()
        due = [Sample(0, number, 0.0) for number in self._recipes if not (self._path(Sample(0, number, 0.0))).is_file()]
        if step:
            weights = dict.fromkeys(weight for weight in self._config.sample_weights if weight)
            due += [Sample(step, number, weight) for number in self._recipes for weight in weights]
        for sample in due:
            with weighed(parts, sample.weight):
                self._draw_one(sample, parts if sample.weight else {})
        self._index.write()
        return [self._path(sample) for sample in due]

    def forget_after(self, step: int) -> None:
        """Remove pictures of later steps, before these are done again."""
        self._index.forget_after(step)

    def _draw_one(self, sample: Sample, parts: Parts) -> None:
        recipe = self._recipes[sample.prompt]
        first, second = tokens_of(parts, self._config.trigger)

        def encoded_now(recipe: Recipe) -> Asked:
            return always(prompt_context(self._base, recipe, first, second))

        picture = draw(self._base, recipe, prepare=encoded_now if self._encoder_trains else self._encoded.__getitem__)
        save_picture(picture, self._path(sample), _parameters(recipe))

    def _path(self, sample: Sample) -> Path:
        return self._folder / sample.file

    def _read(self) -> None:
        """Take up the prompts as they are now; what can't be read leaves those that there were."""
        try:
            self._take(read_lines(self._config.sample_prompts))
        except Error as problem:
            before = self._lines or self._index.lines()
            if not before:
                raise
            self._reporter.warn(f"{problem}; the samples go on with the prompts from before")
            self._take(before)

    def _take(self, lines: list[str]) -> None:
        if lines == self._lines:
            return
        recipes = recipes_of(lines, self._base, self._config.resolution)
        if not self._encoder_trains:
            new = [recipe for recipe in recipes if recipe not in self._encoded]
            with _text_encoders(self._base):
                self._encoded |= {recipe: always(prompt_context(self._base, recipe)) for recipe in new}
        self._lines = lines
        self._recipes = dict(zip(self._index.use(lines, recipes), recipes, strict=True))


@contextmanager
def _text_encoders(base: Base) -> Iterator[None]:
    """Within it, the text encoders are where the base computes; afterwards where they were."""
    places = [next(encoder.parameters()).device for encoder in base.text_encoders]
    for encoder in base.text_encoders:
        torch.nn.Module.to(encoder, base.device)
    try:
        yield
    finally:
        for encoder, place in zip(base.text_encoders, places, strict=True):
            torch.nn.Module.to(encoder, place)


def _parameters(recipe: Recipe) -> str:
    """What made the picture, as A1111 writes it; the adapter is known by the file's name alone."""
    width, height = recipe.size
    negative = f"\nNegative prompt: {recipe.negative}" if recipe.negative else ""
    return (
        f"{recipe.prompt}{negative}\nSteps: {recipe.steps}, Sampler: {recipe.sampler}, "
        f"CFG scale: {recipe.guidance:g}, Seed: {recipe.seed}, Size: {width}x{height}"
    )
