"""What a picture follows from, the base and its mix apart."""

import math
from dataclasses import dataclass, replace

from PIL import Image

from ..bases import Base
from ..errors import Error
from .samplers import find_sampler
from .text_encoding import most_clip_skip


@dataclass(frozen=True)
class SecondPass:
    """Draw the picture again, `scale` times as large, over the first one enlarged; `strength` is how much of the way
    from noise is gone again. `steps` unset: as many as in the first pass."""

    scale: float = 2.0
    strength: float = 0.5
    steps: int | None = None


@dataclass(frozen=True)
class Recipe:
    """Everything that a picture follows from, the base and its mix apart.

    The prompts are in A1111's language, without tags. `size` is (width, height) in pixels. `clip_skip` is counted as
    A1111 does: 1 reads the text encoder's last layer that the family reads at all, 2 the one before the last.
    `image` is what is drawn over, brought to `size`; then `strength` of the steps are done (Meng et al., 2021,
    arXiv:2108.01073). `first_pass` is how many steps there were before, in a second pass.
    """

    prompt: str
    negative: str
    seed: int
    steps: int
    guidance: float
    sampler: str
    size: tuple[int, int]
    clip_skip: int = 1
    image: Image.Image | None = None
    strength: float = 1.0
    second_pass: SecondPass | None = None
    first_pass: int | None = None

    @property
    def pixels(self) -> int:
        """Of the picture that comes out, a second pass counted."""
        width, height = self.size
        return round(width * height * (self.second_pass.scale**2 if self.second_pass else 1))

    @property
    def guided(self) -> bool:
        """Whether the negative prompt's prediction is asked for, too."""
        return self.guidance > 1

    @property
    def steps_done(self) -> int:
        """How many of the steps are done: all, unless a picture is drawn over."""
        return self.steps if self.image is None else math.floor(self.steps * self.strength + 1e-9)

    def over(self, picture: Image.Image, second: SecondPass, factor: int) -> "Recipe":
        """The recipe of the second pass over the first one's picture, its sides multiples of `factor` pixels."""
        width, height = (max(factor, round(side * second.scale / factor) * factor) for side in self.size)
        return replace(
            self,
            steps=second.steps or self.steps,
            size=(width, height),
            image=picture,
            strength=second.strength,
            second_pass=None,
            first_pass=self.steps_done,
        )

    def check(self, base: Base) -> None:
        """Raises `Error` for a setting that can't work, before any time is spent."""
        factor = base.vae_factor
        if any(side < factor or side % factor for side in self.size):
            raise Error(f"size {self.size[0]}x{self.size[1]}: both sides must be multiples of {factor} pixels")
        most = find_sampler(self.sampler).most_steps(base)
        if not 1 <= self.steps <= most:
            raise Error(f"steps is {self.steps}: give 1 to {most}")
        if not math.isfinite(self.guidance):
            raise Error(f"guidance is {self.guidance}: give a finite number")
        if not 0 <= self.seed < 2**64:
            raise Error(f"seed is {self.seed}: give a whole number from 0 to 2^64 - 1")
        if not 1 <= self.clip_skip <= most_clip_skip(base):
            raise Error(f"clip skip is {self.clip_skip}: give 1 (none) to {most_clip_skip(base)}")
        if not 0 < self.strength <= 1:
            raise Error(f"strength is {self.strength}: give a number above 0, up to 1")
        if self.steps_done < 1:
            raise Error(f"strength {self.strength} of {self.steps} steps is less than one step: raise one of them")
        if self.second_pass is not None:
            self._check_second(base, self.second_pass)

    def _check_second(self, base: Base, second: SecondPass) -> None:
        if not (math.isfinite(second.scale) and second.scale >= 1):
            raise Error(f"the second pass's scale is {second.scale}: give a number from 1 on")
        blank = Image.new("RGB", (1, 1))
        try:
            self.over(blank, second, base.vae_factor).check(base)
        except Error as problem:
            raise Error(f"second pass: {problem}") from None
