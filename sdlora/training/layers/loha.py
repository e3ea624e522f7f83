"""LoHa: the elementwise product of two low-rank matrices."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ...adapters.updates import LoHa
from ...adapters.updates.loha import Half
from ...adapters.updates.update import as_matrix
from .plan import Plan
from .whole import WholeLayer


class LoHaLayer(WholeLayer):
    """ΔW = scale · (a1 · b1 ⊙ a2 · b2) (FedPara: Hyeon-Woo et al., 2022, arXiv:2108.06098).

    a1 and a2 are (out, rank), b1 and b2 (rank, in·kh·kw). They start as LyCORIS has them: a2 at zero, the others with
    normal numbers, a1's a tenth as large.
    """

    a1: nn.Parameter
    b1: nn.Parameter
    a2: nn.Parameter
    b2: nn.Parameter

    def _starts(self, plan: Plan, path: str) -> dict[str, Tensor]:
        rank, random = plan.rank_of(path), plan.random(path)
        out, inputs = as_matrix(tuple(self.base.weight.shape))
        return {
            "a1": 0.1 * torch.randn(out, rank, generator=random),
            "b1": torch.randn(rank, inputs, generator=random),
            "a2": torch.zeros(out, rank),
            "b2": torch.randn(rank, inputs, generator=random),
        }

    def _delta(self) -> Tensor:
        return (self.a1 @ self.b1) * ((self.factor * self.scale * self.a2) @ self.b2)

    @staticmethod
    def update_of(weights: Mapping[str, Tensor], scale: float) -> LoHa:
        a1, b1, a2, b2 = (weights[name] for name in ("a1", "b1", "a2", "b2"))
        return LoHa(Half(a1, b1), Half(a2, b2), scale * len(b1))
