"""Bottleneck adapters: a small network behind a layer, which nothing merged into its weight can stand for."""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...adapters.updates import Bottleneck
from .layer import Layer
from .plan import Plan


class BottleneckLayer(Layer):
    """y + up · gelu(down · y + down_bias) + up_bias for the frozen layer's outputs y (Houlsby et al., 2019,
    arXiv:1902.00751).

    forward: (…, in) -> (…, out). down (rank, out) starts at random, up (out, rank) and both biases at zero. There is no
    alpha: the nonlinearity has a scale of its own.
    """

    down: nn.Parameter
    down_bias: nn.Parameter
    up: nn.Parameter
    up_bias: nn.Parameter

    def _starts(self, plan: Plan, path: str) -> dict[str, Tensor]:
        rank, out = plan.rank_of(path), self.base.weight.shape[0]
        bound = 1 / math.sqrt(out)
        return {
            "down": torch.empty(rank, out).uniform_(-bound, bound, generator=plan.random(path)),
            "down_bias": torch.zeros(rank),
            "up": torch.zeros(out, rank),
            "up_bias": torch.zeros(out),
        }

    def forward(self, x: Tensor, *args: object, **kwargs: object) -> Tensor:
        out = self.base(x, *args, **kwargs)
        return out + self._change(x, out) if self.enabled else out  # what is dropped out is of `out`, not of `x`

    def _change(self, x: Tensor, out: Tensor) -> Tensor:
        entry = self.dropout(out) if self.training else out
        narrow = F.gelu(F.linear(entry, self.down.to(out.dtype), self.down_bias.to(out.dtype)))
        return F.linear(narrow, (self.factor * self.up).to(out.dtype), (self.factor * self.up_bias).to(out.dtype))

    @staticmethod
    def update_of(weights: Mapping[str, Tensor], scale: float) -> Bottleneck:
        return Bottleneck(*(weights[name] for name in ("down", "down_bias", "up", "up_bias")))
