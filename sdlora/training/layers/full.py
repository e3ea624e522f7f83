"""Full fine-tuning of a layer."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ...adapters.updates import Full
from .plan import Plan
from .whole import WholeLayer


class FullLayer(WholeLayer):
    """W + diff: every number of the weight is trained; biases stay, as in all kinds.

    What is trained is the difference from the frozen weight, in fp32 whatever the weight's precision, so that weight
    decay draws towards the base and not towards zero.
    """

    diff: nn.Parameter

    def _starts(self, plan: Plan, path: str) -> dict[str, Tensor]:
        return {"diff": torch.zeros(self.base.weight.shape)}

    def _delta(self) -> Tensor:
        return self.factor * self.diff

    @staticmethod
    def update_of(weights: Mapping[str, Tensor], scale: float) -> Full:
        return Full(weights["diff"])
