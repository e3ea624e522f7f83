"""A mix at work: at each step the weights that are in force then, and the prompts as its text encoder reads them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from ..bases import Base
from ..errors import Error
from ..sampling.conditioning import Conditioning
from ..sampling.denoise import Asked, prompt_context
from ..sampling.recipe import Recipe
from .learned_tokens import LearnedTokens
from .mixed_weights import MixedWeights
from .modes import Mix, Mode, during, shares, voices

AT_ONCE = 4  # pictures on a GPU


def at_once(recipes: Sequence[Recipe], batch: int | None, device: torch.device) -> list[Sequence[Recipe]]:
    """The recipes in groups of `batch`, of those that are drawn at once; unset: four on a GPU, else one."""
    if batch is not None and batch < 1:
        raise Error(f"batch is {batch}: give at least 1")
    size = batch or (AT_ONCE if device.type == "cuda" else 1)
    return [recipes[start : start + size] for start in range(0, len(recipes), size)]


class MixAtWork:
    """What the UNet is asked under a mix: `sampling.denoise.draw`'s `prepare`. Puts weights on the base and leaves the
    last ones there."""

    def __init__(self, base: Base, weights: MixedWeights, mix: Mix, mode: Mode, tokens: LearnedTokens) -> None:
        self._base, self._weights, self._tokens = base, weights, tokens
        self._mix, self._mode = mix, mode
        self._voices = voices(mode, mix)
        self._contexts: dict[tuple[int, Recipe], Conditioning] = {}

    def __call__(self, recipe: Recipe) -> Asked:
        """For one pass of a recipe."""
        steps = recipe.steps_done
        # in a second pass the first one's time is over
        of_steps, positions = (
            (recipe.first_pass, [recipe.first_pass] * steps) if recipe.first_pass else (steps, range(steps))
        )
        plan = shares(self._mode, self._mix, positions, of_steps)

        def asked(index: int, total: int) -> Iterator[tuple[float, Conditioning]]:
            step = index * steps // total
            for share, voice in plan[step]:
                self._weights.set(during(self._voices[voice], positions[step], of_steps))
                yield share, self._context(recipe, voice)

        return asked

    def _context(self, recipe: Recipe, voice: int) -> Conditioning:
        """The prompts as a voice's text encoder reads them, whose weights are on the base at all of its steps; encoded
        once for all pictures of a count."""
        key = voice, replace(recipe, seed=0, image=None)
        if key not in self._contexts:
            self._contexts[key] = prompt_context(self._base, recipe, self._tokens.first, self._tokens.second)
        return self._contexts[key]
