"""DoRA: a weight's direction by a low-rank kind, its norms apart."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import Error
from .loha import LoHa
from .lokr import LoKr
from .lora import LoRA
from .parts import fp32
from .tucker import Tucker
from .update import Update

Direction = LoRA | Tucker | LoHa | LoKr


@dataclass(frozen=True, eq=False)
class DoRA(Update):
    """W + ΔW = magnitude · (W + D) / ‖W + D‖, D being the direction's own delta (Liu et al., 2024, arXiv:2402.09353).

    `magnitude` (out, 1, …) goes with one norm for each output over all inputs, LyCORIS' default and PEFT's only form;
    (1, in, …) with one for each input. ΔW is taken at the pristine W; a mix multiplies that.
    """

    direction: Direction
    magnitude: Tensor

    kind = "DoRA"
    needs_weight = True

    def __post_init__(self) -> None:
        shape, size = tuple(self.magnitude.shape), self.magnitude.numel()
        if size == 0 or size not in shape[:2]:
            raise Error(f"its dora_scale is {shape}: it should be one number for each output or for each input")

    @property
    def per_output(self) -> bool:
        """Whether there is one norm for each output; else there is one for each input."""
        size = self.magnitude.numel()
        return self.magnitude.shape[0] == size and (size > 1 or self.direction.shape[0] == 1)

    @property
    def alpha(self) -> float | None:  # type: ignore[override]
        return self.direction.alpha

    @property
    def rank(self) -> int | None:
        return self.direction.rank

    @property
    def shape(self) -> tuple[int, ...]:
        return self.direction.shape

    @property
    def made_for(self) -> str:
        return f"a weight {self.shape} with {self.magnitude.numel()} {'outputs' if self.per_output else 'inputs'}"

    def fits(self, weight: Tensor) -> bool:
        return self.direction.fits(weight) and weight.shape[0 if self.per_output else 1] == self.magnitude.numel()

    def tensors(self) -> dict[str, Tensor]:
        return self.direction.tensors() | {"dora_scale": self.magnitude}

    def _delta(self, weight: Tensor) -> Tensor:
        old = weight.to(torch.float32).reshape(*weight.shape[:2], -1)
        turned = old + self.direction.delta(weight).reshape(old.shape)
        norms = turned.norm(dim=(1, 2) if self.per_output else (0, 2), keepdim=True)
        # a row of zeros has no direction and stays zero
        return turned * (fp32(self.magnitude, weight).reshape(norms.shape) / norms.where(norms > 0, 1.0)) - old
