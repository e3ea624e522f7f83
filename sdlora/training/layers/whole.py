"""Layers whose update is made as a matrix as large as the weight."""

from abc import abstractmethod

import torch.nn.functional as F
from torch import Tensor, nn

from .layer import Layer


class WholeLayer(Layer):
    """Adds what ΔW makes of the input to what the frozen layer makes of it.

    W + ΔW would save a product, but in bf16 it would round most of ΔW away.
    """

    @abstractmethod
    def _delta(self) -> Tensor:
        """factor · ΔW in fp32, with the weight's values in their order."""

    def _change(self, x: Tensor, out: Tensor) -> Tensor:
        base, delta = self.base, self._delta().to(x.dtype).view(self.base.weight.shape)
        if isinstance(base, nn.Conv2d):
            return F.conv2d(x, delta, None, base.stride, base.padding, base.dilation)
        return F.linear(x, delta)
