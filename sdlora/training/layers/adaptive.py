"""LoRAs whose rank is found while they are trained (AdaLoRA, Zhang et al., 2023, arXiv:2303.10512).

An update is scale · P Λ Q, like a singular value decomposition: `up` is P (out, rank), `down` is Q (rank, in), `values`
is the diagonal of Λ (rank). Each rank is a triplet of a column, a value and a row; ranks whose triplets matter least
are given up by `adaptive_rank.py`. What is left is a plain LoRA.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...adapters.updates import LoRA
from .lora import LoRAConv2d, LoRALayer, LoRALinear
from .plan import Plan

SMOOTHING = 0.85  # of importances, and of how much they vary: the paper's β₁ and β₂
START = 0.02  # standard deviation of P and Q at the start; Λ starts at zero
TRIPLET = ("down", "up", "values")


def first_rank(rank: int) -> int:
    """So many ranks a module begins with, of which `rank` are left on average."""
    return rank + (rank + 1) // 2


class AdaptiveLoRA(LoRALayer):
    """A LoRA in three parts, and what is known of how much each rank matters.

    `rank` is what the module's share of the budget is in the end. `kept` (first rank) is 1 for ranks that are in use, 0
    for those that were given up.
    """

    values: torch.nn.Parameter
    kept: Tensor

    def __init__(self, base: Any, plan: Plan, path: str) -> None:
        super().__init__(base, plan, path)
        self.rank = plan.rank_of(path)
        self.register_buffer("kept", torch.ones_like(self.values))
        for name in TRIPLET:
            for what in ("sensitivity", "uncertainty"):
                self.register_buffer(f"{what}_{name}", torch.zeros_like(self.weights[name]))

    def _starts(self, plan: Plan, path: str) -> dict[str, Tensor]:
        rank, random = first_rank(plan.rank_of(path)), plan.random(path)
        down, up = (torch.empty(shape).normal_(std=START, generator=random) for shape in self._shapes(rank))
        return {"down": down, "up": up, "values": torch.zeros(rank)}

    def _change(self, x: Tensor, out: Tensor) -> Tensor:
        values = self.values.reshape(-1, *(1 for _ in self.down.shape[1:]))
        return self._product(x, values * self.down, self.up)

    def skew(self) -> Tensor:
        """How far P's columns and Q's rows are from orthonormal: ‖PᵀP - I‖ + ‖QQᵀ - I‖, mean of both."""
        norms = []
        for rows in (self.up.flatten(1).T, self.down.flatten(1)):
            norms.append((rows @ rows.T - torch.eye(len(rows), device=rows.device)).norm())
        return (norms[0] + norms[1]) / 2

    @torch.no_grad()
    def learn_importance(self) -> None:
        """From the gradients of the step that was just taken: smoothed |w · ∂L/∂w|, and how much that varies."""
        for name in TRIPLET:
            weight = self.weights[name]
            if weight.grad is None:
                continue
            now = (weight * weight.grad).abs()
            smooth, varies = getattr(self, f"sensitivity_{name}"), getattr(self, f"uncertainty_{name}")
            smooth.lerp_(now, 1 - SMOOTHING)
            varies.lerp_((now - smooth).abs(), 1 - SMOOTHING)

    @property
    def importance(self) -> Tensor:
        """(rank): how much each triplet matters, its value and the mean of its column and its row."""
        of = {name: getattr(self, f"sensitivity_{name}") * getattr(self, f"uncertainty_{name}") for name in TRIPLET}
        return of["values"] + of["down"].flatten(1).mean(1) + of["up"].flatten(1).mean(0)

    @torch.no_grad()
    def keep(self, kept: Tensor | None = None) -> None:
        """Give up the ranks for which `kept` (rank) is false; None: those that were given up last."""
        if kept is not None:
            self.kept.copy_(kept)
        self.values.mul_(self.kept)

    @staticmethod
    def update_of(weights: Mapping[str, Tensor], scale: float) -> LoRA:
        """A LoRA of the ranks that are left; of one that adds nothing, where none is.

        Alpha is 1 whatever the rank: diffusers takes one alpha for that of many modules, and ranks as they are.
        """
        down, up, values = weights["down"], weights["up"], weights["values"]
        left = values != 0
        left = left if left.any() else torch.arange(len(values), device=values.device) == 0
        strengths = values[left] * scale * left.sum()
        level = strengths.abs().sqrt()  # on either side, so that neither falls below fp16's numbers
        columns, rows = (level.reshape(shape) for shape in ((1, -1, *up.shape[2:]), (-1, *(1,) * (down.ndim - 1))))
        signs = strengths.sign().reshape(columns.shape)
        return LoRA(rows * down[left], signs * columns * up[:, left], 1.0)


class AdaptiveLinear(AdaptiveLoRA, LoRALinear):
    """Of a linear layer."""


class AdaptiveConv2d(AdaptiveLoRA, LoRAConv2d):
    """Of a convolution."""
