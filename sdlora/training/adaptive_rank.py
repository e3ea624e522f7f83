"""Which ranks an adaptive training gives up, and when (AdaLoRA, Zhang et al., 2023, arXiv:2303.10512).

All ranks of all modules share one budget. It begins at half as much again as was asked for, falls along a cubic curve,
and is what was asked for in the second half of the run, in which nothing more is given up.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from .layers.adaptive import AdaptiveLoRA

BEGINS, ENDS = 0.1, 0.5  # shares of the steps between which ranks are given up
OFTEN = 100  # so many times in a run, at the most, they are looked at
SKEW_WEIGHT = 0.5  # of the penalty that keeps triplets apart; the paper uses 0.1 to 0.5


class RankBudget:
    """The ranks of a run's adaptive layers. All that it knows lies in the layers' constants, and so in checkpoints."""

    def __init__(self, layers: Sequence[AdaptiveLoRA], steps: int) -> None:
        self._layers, self._steps = layers, steps
        self._first = sum(len(layer.values) for layer in layers)
        self._last = sum(layer.rank for layer in layers)

    @classmethod
    def of(cls, parts: Iterable[nn.Module], steps: int) -> "RankBudget":
        """That of the adaptive layers among a run's parts."""
        return cls([part for part in parts if isinstance(part, AdaptiveLoRA)], steps)

    def at(self, step: int) -> int:
        """How many ranks there are in all after a step."""
        begins, ends = BEGINS * self._steps, ENDS * self._steps
        left = min(1.0, max(0.0, (ends - step) / (ends - begins)))
        return self._last + round((self._first - self._last) * left**3)

    def after(self, step: int) -> None:
        """After the optimiser's step number `step`, from 1 on, while its gradients are there."""
        settled = round(ENDS * self._steps)
        if step > settled:
            for layer in self._layers:
                layer.keep()
            return
        if self._made():
            for layer in self._layers:
                layer.learn_importance()
        if step == settled or (step > BEGINS * self._steps and step % max(1, self._steps // OFTEN) == 0):
            self._give_up(self.at(step))

    def _made(self) -> bool:
        """Whether the optimiser has made the step: the loss scaler skips one whose gradients overflowed."""
        grads = [w.grad for layer in self._layers for w in layer.weights.values() if w.grad is not None]
        return bool(grads) and bool(torch.stack(torch._foreach_norm(grads)).isfinite().all())

    def _give_up(self, budget: int) -> None:
        """All but the `budget` triplets that matter most, of all modules."""
        importances = torch.cat([layer.importance for layer in self._layers])
        kept = torch.zeros_like(importances, dtype=torch.bool)
        kept[importances.topk(budget).indices] = True
        for layer, own in zip(self._layers, kept.split([len(layer.values) for layer in self._layers]), strict=True):
            layer.keep(own)


def penalty(layers: Iterable[nn.Module]) -> Tensor:
    """Added to the loss, for its gradient alone: its value is zero, and the loss that is shown is the pictures'."""
    skews = [layer.skew() for layer in layers if isinstance(layer, AdaptiveLoRA)]
    skew = SKEW_WEIGHT * torch.stack(skews).mean()
    return skew - skew.detach()
