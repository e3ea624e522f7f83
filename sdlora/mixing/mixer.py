"""Mixer: puts several adapters at once on a base, exactly, and generates with them."""

import secrets
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PIL.Image import Image

from ..adapters import Adapter, save_adapter
from ..adapters import library as adapter_library
from ..adapters.algebra import ErrorReport
from ..bases import Base
from ..errors import Error
from ..sampling.denoise import OnStep, draw_all
from ..sampling.memory import Say, attempted, free_caches, warn, with_retry
from ..sampling.recipe import Recipe, SecondPass
from ..sampling.safety import Check, safety_of
from .drawing import MixAtWork, at_once
from .equalise import equalising_factor
from .export import one_adapter
from .generated import Batch, GeneratedImage, parameters_of
from .in_force import Lookup, MixInForce
from .mix import Given, Weights
from .mix_file import read_mix, write_mix
from .mixed_weights import MixedWeights
from .modes import Mode
from .recipes import Picture, Size, recipes
from .tags import read_tags


class Mixer:
    """Mixes adapters into a base in place: the base's `state_dict` keys never change, its values are the mixed ones.

    `library` is the folder, or the `Collection` of several, in which adapters are found by name; a file path always
    works. Several mixers may share a base: its values are those of the mix that was set or drawn with last.
    """

    def __init__(
        self,
        base: Base,
        library: str | adapter_library.Library | None = None,
        *,
        safety: bool | Check | None = None,
        say: Say = warn,
    ) -> None:
        self.base = base
        self.safety = safety_of(base, safety)
        self._say = say
        self.library = _library(library)
        self._weights = MixedWeights.of(base)
        self._factors: dict[tuple[str, Any], float] = {}
        self._lookup = Lookup(base, self._weights.paths, self._factor)
        self._now = MixInForce()

    def set(
        self,
        mix: Mapping[str, Given],
        mode: Mode = "blend",
        *,
        library: str | adapter_library.Library | None = None,
        equalise: bool = False,
    ) -> None:
        """Apply exactly this mix at once, `{library name or file path: weight}`; any finite weight, negative too.

        Instead of a number, `{"unet": 0.6, "text": 0.3, "blocks": {"unet.up_blocks.1": 0.5}, "enabled": True}`: what is
        left out is 1; a block's factor goes on top, the longest prefix wins; `blocks` may also be a list of A1111's
        block weights or a preset's name. `start` and `stop` (fractions of the steps) say when the UNet's weight is in
        force, `ramp_in` and `ramp_out` over which share of the steps it rises and falls. With `equalise`, weights are
        in units of strength, see `equalise.py`.

        `mode` is how adapters act while a picture is drawn: `blend`, all at once; `switch`, in turns, the weights being
        each one's share of the steps; `composite`, the mean of each one's own prediction by weight, which asks the UNet
        once for each (`passes`). Between drawings the base holds the blend, at its full weights.

        Raises `Error`, leaving the base as it was, for an unknown name, another family or geometry, learned tokens that
        do not fit, or a weight that is no finite number.
        """
        now = self._lookup.mix(mix, _library(library) or self.library, mode, equalise=equalise)
        self._weights.set(now.mix)
        self._now = now

    def clear(self) -> None:
        """Bring back the base's own bits."""
        self.set({})

    def save(self, path: str | Path) -> None:
        """Write the mix as a small TOML file, see `mix_file`."""
        given = {entry.key: entry.weights for entry in self._now.entries}
        if self._now.library != self.library:  # names of another folder would not be found
            given = {str(adapter_library.find(key, self._now.library)): weights for key, weights in given.items()}
        write_mix(Path(path), given, self.library, mode=self._now.mode, equalise=self._now.equalise)

    def load(self, path: str | Path) -> None:
        """Set the mix of a file that `save` wrote. Raises `Error`, naming the file, as `set` does."""
        found = read_mix(Path(path), self.library)
        try:
            self.set(found.adapters, found.mode, equalise=found.equalise)
        except Error as problem:
            raise Error(f"{path}: {problem}") from None

    def export(self, path: str | Path, rank: int | None = None, *, dtype: str = "fp16") -> ErrorReport:
        """Write the mix as one adapter file that does at weight 1 what the mix does; returns how exact it is.

        Exact but for the rounding of the file's `dtype` (`fp16`, `bf16`, `fp32`); `rank` makes it smaller. The metadata
        says what it was made of. Raises `Error` for a mix that changes nothing, and for one that no single adapter can
        do: in another mode than `blend`, or with adapters that act for part of the time.
        """
        path, now = Path(path), self._now
        if now.mode != "blend":
            raise Error(f"one adapter can't do what this mix does, for its mode is {now.mode}: set it to blend")
        adapter, report = one_adapter(path.stem, self.base, now.mix, now.tokens, self._weights.pristine, rank)
        save_adapter(adapter, path, dtype=dtype)
        return report

    @property
    def adapters(self) -> list[tuple[Adapter, Weights]]:
        """The mix as it stands: adapters with the weights that they have, equalised where asked for."""
        return list(self._now.mix)

    @property
    def mode(self) -> Mode:
        """How its adapters act together."""
        return self._now.mode

    @property
    def passes(self) -> int:
        """How often the UNet is asked in a step: once, but in `composite` for each adapter."""
        return max(1, len(self._now.active)) if self.mode == "composite" else 1

    @property
    def tokens(self) -> dict[str, tuple[str, ...]]:
        """What a prompt may call the learned tokens of this mix, and the adapters that each is from."""
        return dict(self._now.tokens.owners)

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
        clip_skip: int = 1,
        image: Picture | None = None,
        strength: float | None = None,
        second_pass: SecondPass | None = None,
        batch: int | None = None,
        on_step: OnStep | None = None,
    ) -> list[GeneratedImage]:
        """Draw `count` pictures; picture *i* is the single picture of seed + i.

        On a CPU one is drawn after the other, and this holds bit for bit. On a GPU, which is faster with several, four
        are drawn at once and may differ by 1/255; their parameters say so. `batch` is how many, if not these.

        A missing seed is drawn at random. `size` is a side or (width, height) in pixels. `image` is a picture to draw
        over, cut to the size, and `strength` (0.6 where unset) how much of it is drawn anew. `on_step` is called after
        each step and may raise `sampling.denoise.Cancelled`.

        The prompts are in A1111's language. Tags in the prompt (`<lora:ink:0.8>`) name adapters of the library or of
        the mix, act for this call alone and override the weight in the mix. Raises `Error` for settings that can't
        work.
        """
        tagged = read_tags(prompt)
        wanted = recipes(
            self.base,
            tagged.text.strip() if tagged.tags or tagged.others else prompt,
            negative,
            secrets.randbelow(2**32) if seed is None else seed,
            count,
            steps=steps,
            guidance=guidance,
            sampler=sampler,
            size=size,
            clip_skip=clip_skip,
            image=image,
            strength=strength,
            second_pass=second_pass,
        )
        now = self._lookup.with_tags(self._now, tagged.tags, self.library)
        at_work = MixAtWork(self.base, self._weights, now.mix, now.mode, now.tokens)
        try:
            groups = at_once(wanted, batch, self.base.device)
            return [picture for group in groups for picture in self._drawn(group, on_step, at_work, now)]
        finally:
            self._weights.set(self._now.mix)

    def _drawn(
        self, recipes: Sequence[Recipe], on_step: OnStep | None, at_work: MixAtWork, now: MixInForce
    ) -> list[GeneratedImage]:
        """Pictures that are drawn at once; one by one where memory runs out, and then tried again."""
        work = partial(draw_all, self.base, recipes, on_step, at_work)
        if len(recipes) == 1:
            drawn = with_retry(self.base, work, recipes[0].pixels, self._say)
        else:
            done, drawn = attempted(work)
            if not done:
                free_caches()
                self._say(
                    f"the memory of {self.base.device} ran out with {len(recipes)} pictures at once: one by one, then"
                )
                return [picture for one in recipes for picture in self._drawn([one], on_step, at_work, now)]
        return [
            self._told(recipe, image, now, i, len(recipes))
            for i, (recipe, image) in enumerate(zip(recipes, drawn, strict=True))
        ]

    def _told(self, recipe: Recipe, drawn: Image, now: MixInForce, position: int, batch: int) -> GeneratedImage:
        """A picture with what it was made from; black where the safety checker finds it unsafe."""
        image, unsafe = self.safety.screened(drawn)
        if unsafe:
            self._say(f"the safety checker found the picture of seed {recipe.seed} unsafe: it is black")
        told = parameters_of(self.base, recipe, now.active, now.mode, Batch(batch, position))
        return GeneratedImage(image, told, unsafe)

    def _factor(self, adapter: Adapter) -> float:
        key = adapter.content_hash, self.base.dtype
        if key not in self._factors:
            self._factors[key] = equalising_factor(adapter, self._weights.pristine)
        return self._factors[key]


def _library(given: str | adapter_library.Library | None) -> adapter_library.Library | None:
    return Path(given) if isinstance(given, str) else given
