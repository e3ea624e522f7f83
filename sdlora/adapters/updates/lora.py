"""LoRA, also of convolutions (LoCon)."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ...errors import Error
from .parts import Parts, as_part, check_factors, number, part
from .update import Update, without_unit_kernel


@dataclass(frozen=True, eq=False)
class LoRA(Update):
    """ΔW = (alpha / rank) · up · down (Hu et al., 2021, arXiv:2106.09685).

    Linear: down (rank, in), up (out, rank). Convolution: down (rank, in, kh, kw), up (out, rank, 1, 1); a 1×1
    convolution and a linear layer hold the same numbers, so either fits the other.
    """

    down: Tensor
    up: Tensor
    alpha: float

    def __post_init__(self) -> None:
        down, up = tuple(self.down.shape), tuple(self.up.shape)
        fitting = len(down) in (2, 4) and len(up) in (2, 4) and down[0] == up[1] and up[2:] in ((), (1, 1))
        if not fitting or 0 in down + up:
            raise Error(f"down {down} and up {up} do not make a LoRA update")
        check_factors("LoRA", self.rank, self.alpha)

    @classmethod
    def from_parts(cls, parts: Parts) -> Self:
        down, up = part(parts, "lora_down.weight"), part(parts, "lora_up.weight")
        return cls(down, up, number(parts, "alpha", down.shape[0] if down.ndim else 0))

    @property
    def kind(self) -> str:
        return "LoRA" if len(without_unit_kernel(self.shape)) == 2 else "LoCon"

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.up.shape[0], *self.down.shape[1:])

    def factors(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """(scale · up, down) as fp32 matrices (out, rank) and (rank, in·kh·kw), whose product is ΔW."""
        up = self.up.to(device, torch.float32).flatten(1)
        return up * self.scale, self.down.to(device, torch.float32).flatten(1)

    def tensors(self) -> dict[str, Tensor]:
        return {"lora_down.weight": self.down, "lora_up.weight": self.up, "alpha": as_part(self.alpha)}

    def _delta(self, weight: Tensor) -> Tensor:
        up, down = self.factors(weight.device)
        return up @ down
