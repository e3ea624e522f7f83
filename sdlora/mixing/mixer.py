"""Mixer: puts several adapters at once on a base, exactly, and generates with them."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..adapters import Adapter, save_adapter
from ..adapters import library as adapter_library
from ..adapters.algebra import ErrorReport
from ..bases import Base
from ..bases.checkpoint_file import CHECKPOINT_SUFFIXES
from ..errors import Error
from ..sampling.defaults import defaults_for
from ..sampling.denoise import OnStep, Recipe, draw, prompt_context
from ..version import VERSION
from .equalise import equalising_factor
from .export import one_adapter
from .generated import GeneratedImage, MixedAdapter, Parameters
from .learned_tokens import LearnedTokens, learned_tokens
from .merged_weights import MergedWeights
from .mix import Given, Weights, parse
from .mix_file import read_mix, write_mix

Size = int | tuple[int, int]


class Mixer:
    """Mixes adapters into a base in place: the base's `state_dict` keys never change, its values are the mixed ones.

    `library` is the folder in which adapters are found by name; a file path always works. Several mixers may share a
    base: its values are those of the mix that was set or drawn with last.
    """

    def __init__(self, base: Base, library: str | Path | None = None) -> None:
        self.base = base
        self.library = Path(library) if library else None
        self._given: dict[str, Weights] = {}  # as the user named and weighed them
        self._equalise = False
        self._mix: list[tuple[Adapter, Weights]] = []
        self._tokens = LearnedTokens()
        self._weights = MergedWeights.of(base)
        self._factors: dict[tuple[str, Any], float] = {}

    def set(self, mix: Mapping[str, Given], *, library: str | Path | None = None, equalise: bool = False) -> None:
        """Apply exactly this mix at once, `{library name or file path: weight}`; any finite weight, negative too.

        Instead of a number, `{"unet": 0.6, "text": 0.3, "blocks": {"unet.up_blocks.1": 0.5}, "enabled": True}`: what is
        left out is 1; a block's factor goes on top, the longest prefix wins; `blocks` may also be a list of A1111's
        block weights or a preset's name. With `equalise`, weights are in units of strength, see `equalise.py`.
        Raises `Error`, leaving the base as it was, for an unknown name, another family or geometry, learned tokens that
        do not fit, or a weight that is no finite number.
        """
        folder = Path(library) if library else self.library
        if not isinstance(mix, Mapping):
            raise Error(f"a mix is {{name: weight}}, such as {{'ink': 0.8}}; this is {mix!r}")
        given = {str(k): parse(str(k), value, self._weights.paths, self.base.family) for k, value in mix.items()}
        chosen = [(self._load(key, folder), weights) for key, weights in given.items()]
        if equalise:
            chosen = [(adapter, weights.times(self._factor(adapter))) for adapter, weights in chosen]
        tokens = learned_tokens(self.base, [adapter for adapter, weights in chosen if weights.active])
        self._weights.set(chosen)
        self._given = {str(adapter_library.find(key, folder)) if library else key: w for key, w in given.items()}
        self._mix, self._tokens, self._equalise = chosen, tokens, equalise

    def clear(self) -> None:
        """Bring back the base's own bits."""
        self.set({})

    def save(self, path: str | Path) -> None:
        """Write the mix as a small TOML file, see `mix_file`."""
        write_mix(Path(path), self._given, equalise=self._equalise, library=self.library)

    def load(self, path: str | Path) -> None:
        """Set the mix of a file that `save` wrote. Raises `Error`, naming the file, as `set` does."""
        mix, equalise = read_mix(Path(path), self.library)
        try:
            self.set(mix, equalise=equalise)
        except Error as problem:
            raise Error(f"{path}: {problem}") from None

    def export(self, path: str | Path, rank: int | None = None, *, dtype: str = "fp16") -> ErrorReport:
        """Write the mix as one adapter file that does at weight 1 what the mix does; returns how exact it is.

        Exact but for the rounding of the file's `dtype` (`fp16`, `bf16`, `fp32`); `rank` makes it smaller. The metadata
        says what it was made of. Raises `Error` for a mix that changes nothing.
        """
        path = Path(path)
        adapter, report = one_adapter(path.stem, self.base, self._mix, self._tokens, self._weights.pristine, rank)
        save_adapter(adapter, path, dtype=dtype)
        return report

    @property
    def adapters(self) -> list[tuple[Adapter, Weights]]:
        """The mix as it stands: adapters with the weights that they have, equalised where asked for."""
        return list(self._mix)

    @property
    def tokens(self) -> dict[str, tuple[str, ...]]:
        """What a prompt may call the learned tokens of this mix, and the adapters that each is from."""
        return dict(self._tokens.owners)

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
        context = prompt_context(self.base, recipes[0], self._tokens.first, self._tokens.second)
        return [
            GeneratedImage(draw(self.base, recipe, on_step, context), self._parameters(recipe)) for recipe in recipes
        ]

    def _load(self, key: str, folder: Path | None) -> Adapter:
        adapter = adapter_library.load(adapter_library.find(key, folder))
        if adapter.family not in (None, self.base.family):
            raise Error(
                f"adapter {adapter.name!r} is for {adapter.family}, the base {self.base.path} is {self.base.family}"
            )
        return adapter

    def _factor(self, adapter: Adapter) -> float:
        key = adapter.content_hash, self.base.dtype
        if key not in self._factors:
            self._factors[key] = equalising_factor(adapter, self._weights.pristine)
        return self._factors[key]

    def _parameters(self, recipe: Recipe) -> Parameters:
        active = [(adapter, weights) for adapter, weights in self._mix if weights.active]
        mixed = tuple(
            MixedAdapter(adapter.name, weights.unet, adapter.metadata.get("sshs_model_hash", "")[:12])
            for adapter, weights in active
        )
        plain = all(weights.plain for _, weights in active)
        details = {} if plain else {"mix": {adapter.name: weights.given() for adapter, weights in active}}
        model = _model_name(self.base.path)
        return Parameters(recipe, model, self.base.short_hash, mixed, f"sdlora {VERSION}", details)


def _model_name(path: str) -> str:
    """The last part of a base's path or hub id, without a checkpoint file's ending: `v1-5`, but `my-model-1.5`."""
    name = Path(path).name
    ending = next((suffix for suffix in CHECKPOINT_SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(ending)]


def _pair(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size
