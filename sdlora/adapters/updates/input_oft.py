"""OFT as PEFT has it: blocks of inputs, rotated."""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ...errors import Error
from .oft import cayley_turns
from .parts import Parts, fp32, number, part
from .update import Update, as_matrix

PEFT_TERMS = 5  # PEFT's default
TERMS = "oft_R.neumann_terms"


@dataclass(frozen=True, eq=False)
class InputOFT(Update):
    """W + ΔW = W · Rᵀ, R block-diagonal over the in·kh·kw inputs (Qiu et al., 2025, arXiv:2506.19847; PEFT's files).

    `packed` (n, b·(b − 1)/2) holds the upper triangles of skew Q; a single row with b below the number of inputs is
    shared by all blocks. `terms` is the length of the series that stands in for (I + Q)(I − Q)⁻¹; 0 means PEFT's exact
    form, which is (I − Q)(I + Q)⁻¹, so the two turn opposite ways. No other program reads this from a Kohya file.
    """

    packed: Tensor
    terms: int = PEFT_TERMS

    kind = "OFT"
    needs_weight = True
    alpha = None
    shape = None

    def __post_init__(self) -> None:
        shape = tuple(self.packed.shape)
        if len(shape) != 2 or 0 in shape or self.size * (self.size - 1) // 2 != shape[1]:
            raise Error(f"its oft_R.weight is {shape}, which are no packed skew matrices")
        if not 0 <= self.terms <= 100:
            raise Error(f"a series of {self.terms} terms is no OFT update of PEFT's")

    @classmethod
    def from_parts(cls, parts: Parts) -> Self:
        return cls(part(parts, "oft_R.weight"), int(number(parts, TERMS, PEFT_TERMS)))

    @classmethod
    def from_peft(
        cls,
        packed: Tensor,
        *,
        use_cayley_neumann: bool = True,
        num_cayley_neumann_terms: int = PEFT_TERMS,
        coft: bool = False,
        eps: float = 6e-5,
    ) -> Self:
        """From `oft_R.weight` and the settings of the same names in `adapter_config.json`, with PEFT's defaults."""
        if coft:  # each block's ‖Q‖, which is √2 times its triangle's, is at most eps / √n
            packed = packed.float()
            packed = packed * (eps / (2 * len(packed)) ** 0.5 / packed.norm(dim=1, keepdim=True)).clamp(max=1)
        return cls(packed, num_cayley_neumann_terms if use_cayley_neumann else 0)

    @property
    def size(self) -> int:
        """The blocks' size b."""
        return (1 + math.isqrt(1 + 8 * self.packed.shape[1])) // 2

    @property
    def made_for(self) -> str:
        if len(self.packed) == 1:
            return f"a weight with a multiple of {self.size} inputs"
        return f"a weight with {len(self.packed) * self.size} inputs"

    def fits(self, weight: Tensor) -> bool:
        if weight.ndim not in (2, 4):
            return False
        blocks, rest = divmod(as_matrix(tuple(weight.shape))[1], self.size)
        return rest == 0 and len(self.packed) in (1, blocks)

    def tensors(self) -> dict[str, Tensor]:
        return {"oft_R.weight": self.packed, TERMS: torch.tensor(self.terms)}

    def _delta(self, weight: Tensor) -> Tensor:
        rows, columns = torch.triu_indices(self.size, self.size, 1, device=weight.device)
        skew = weight.new_zeros(len(self.packed), self.size, self.size, dtype=torch.float32)
        skew[:, rows, columns] = fp32(self.packed, weight)
        skew = skew - skew.mT
        turns = _series_turns(skew, self.terms) if self.terms else cayley_turns(-skew)
        blocks = weight.to(torch.float32).reshape(len(weight), -1, self.size)
        return torch.einsum("ork,rck->orc", blocks, turns.expand(blocks.shape[1], -1, -1))


def _series_turns(skew: Tensor, terms: int) -> Tensor:
    """PEFT's R − I: 2Q + 2Q² + … with the last power once; from 3 terms on there is always a Q³."""
    if terms == 1:
        return torch.zeros_like(skew)
    last = 1 if terms == 2 else max(terms - 1, 3)
    power, turns = skew, 2 * skew
    for exponent in range(2, last + 1):
        power = power @ skew
        turns = turns + power * (1 if exponent == last else 2)
    return turns
