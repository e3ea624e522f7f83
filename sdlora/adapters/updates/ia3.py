"""IA³: rows or columns of the weight, scaled."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ...errors import Error
from .parts import Parts, fp32, number, part
from .update import Update


@dataclass(frozen=True, eq=False)
class IA3(Update):
    """ΔW = factors · W, for each output or each input (Liu et al., 2022, arXiv:2205.05638; in LyCORIS' form, from 0).

    `factors` is (n,) or (1, n, 1, 1) with n outputs or, `on_input`, n inputs.
    """

    factors: Tensor
    on_input: bool

    kind = "IA³"
    needs_weight = True
    alpha = None
    shape = None

    def __post_init__(self) -> None:
        shape, size = tuple(self.factors.shape), self.factors.numel()
        if size == 0 or size not in shape:
            raise Error(f"its weight is {shape}: an IA³ update has one number for each output or for each input")

    @classmethod
    def from_parts(cls, parts: Parts) -> Self:
        return cls(part(parts, "weight"), bool(number(parts, "on_input", 0)))

    @property
    def made_for(self) -> str:
        return f"a weight with {self.factors.numel()} {'inputs' if self.on_input else 'outputs'}"

    def fits(self, weight: Tensor) -> bool:
        return weight.ndim in (2, 4) and weight.shape[int(self.on_input)] == self.factors.numel()

    def tensors(self) -> dict[str, Tensor]:
        return {"weight": self.factors, "on_input": torch.tensor(int(self.on_input))}

    def _delta(self, weight: Tensor) -> Tensor:
        factors = fp32(self.factors, weight).flatten()
        return weight.to(torch.float32).movedim(int(self.on_input), -1).mul(factors).movedim(-1, int(self.on_input))
