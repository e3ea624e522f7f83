"""The moving average of an adapter's weights."""

from collections.abc import Sequence

import torch
from torch import Tensor


class MovingAverage:
    """Each weight's exponential moving average over the optimiser steps, in fp32.

    In step t the old average counts min(decay, (1 + t) / (10 + t)): with this warm-up (as in TensorFlow's
    ExponentialMovingAverage) the start, where nothing is learned yet, is soon forgotten.
    """

    def __init__(self, weights: Sequence[Tensor], decay: float) -> None:
        self.values = [weight.detach().float().clone() for weight in weights]
        self._weights, self._decay = list(weights), decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the weights after this step in; the first step is 1."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, self._weights, 1 - decay)
