"""Mixer: puts several adapters at once on a base, exactly, and generates with them."""

import math
import secrets
from collections.abc import Mapping
from pathlib import Path

from ..adapters import Adapter
from ..adapters import library as adapter_library
from ..bases import Base
from ..bases.checkpoint_file import CHECKPOINT_SUFFIXES
from ..errors import Error
from ..sampling.defaults import defaults_for
from ..sampling.denoise import OnStep, Recipe, draw
from ..version import VERSION
from .generated import GeneratedImage, MixedAdapter, Parameters
from .merged_weights import MergedWeights

Size = int | tuple[int, int]


class Mixer:
    """Mixes adapters into a base in place: the base's `state_dict` keys never change, its values are the mixed ones.

    `library` is the folder in which adapters are found by name; a file path always works. Several mixers may share a
    base: its values are those of the mix that was set or drawn with last.
    """

    def __init__(self, base: Base, library: str | Path | None = None) -> None:
        self.base = base
        self.library = Path(library) if library else None
        self._mix: list[tuple[Adapter, float]] = []
        self._weights = MergedWeights.of(base)

    def set(self, mix: Mapping[str, float], *, library: str | Path | None = None) -> None:
        """Apply exactly this mix at once, `{library name or file path: weight}`; any finite weight, negative too.

        Raises `Error`, leaving the base as it was, for an unknown name, another family or geometry, or a weight that is
        no finite number.
        """
        folder = Path(library) if library else self.library
        chosen = [(self._load(key, folder), _finite(key, weight)) for key, weight in mix.items()]
        self._weights.set(chosen)
        self._mix = chosen

    def clear(self) -> None:
        """Bring back the base's own bits."""
        self._weights.set([])
        self._mix = []

    @property
    def adapters(self) -> list[tuple[Adapter, float]]:
        """The mix as it stands: adapters with their weights."""
        return list(self._mix)

    def generate(
        self,
        prompt: str,
        negative: str = "",
        seed: int | None = None,
        *,
        steps: int | None = None,
        guidance: float | None = None,
        sampler: str | None = None,
        size: Size | None = None,
        count: int = 1,
        on_step: OnStep | None = None,
    ) -> list[GeneratedImage]:
        """Draw `count` pictures; picture *i* is the single picture of seed + i. A missing seed is drawn at random.

        `size` is a side or (width, height) in pixels. `on_step` is called after each step and may raise
        `sampling.denoise.Cancelled`. Raises `Error` for settings that can't work.
        """
        if count < 1:
            raise Error(f"count is {count}: give at least 1")
        first = secrets.randbelow(2**32) if seed is None else seed
        usual = defaults_for(self.base)
        recipes = [
            Recipe(
                prompt,
                negative,
                first + i,
                usual.steps if steps is None else steps,
                usual.guidance if guidance is None else guidance,
                sampler or usual.sampler,
                _pair(usual.side if size is None else size),
            )
            for i in range(count)
        ]
        for recipe in recipes:
            recipe.check(self.base)
        self._weights.set(self._mix)  # nothing to do, unless another mixer of this base or an interruption came between
        return [GeneratedImage(draw(self.base, recipe, on_step), self._parameters(recipe)) for recipe in recipes]

    def _load(self, key: str, folder: Path | None) -> Adapter:
        adapter = adapter_library.load(adapter_library.find(key, folder))
        if adapter.family not in (None, self.base.family):
            raise Error(
                f"adapter {adapter.name!r} is for {adapter.family}, the base {self.base.path} is {self.base.family}"
            )
        return adapter

    def _parameters(self, recipe: Recipe) -> Parameters:
        mixed = tuple(
            MixedAdapter(adapter.name, weight, adapter.metadata.get("sshs_model_hash", "")[:12])
            for adapter, weight in self._mix
            if weight != 0
        )
        return Parameters(recipe, _model_name(self.base.path), self.base.short_hash, mixed, f"sdlora {VERSION}")


def _finite(key: str, weight: float) -> float:
    if not isinstance(weight, int | float) or not math.isfinite(weight):
        raise Error(f"the weight of {key!r} is {weight!r}: give a finite number")
    return float(weight)


def _model_name(path: str) -> str:
    """The last part of a base's path or hub id, without a checkpoint file's ending: `v1-5`, but `my-model-1.5`."""
    name = Path(path).name
    ending = next((suffix for suffix in CHECKPOINT_SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(ending)]


def _pair(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size
