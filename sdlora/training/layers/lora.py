"""LoRA: trainable low-rank layers, also in the place of convolutions (LoCon)."""

import math
from abc import abstractmethod
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...adapters.updates import LoRA
from .layer import Layer
from .plan import Plan


class LoRALayer(Layer):
    """A frozen layer plus scale · up(down(x)).

    `down` starts at random (Kaiming-uniform, as in the paper's code), `up` at zero.
    """

    down: nn.Parameter
    up: nn.Parameter

    def _starts(self, plan: Plan, path: str) -> dict[str, Tensor]:
        down, up = self._shapes(plan.rank_of(path))
        bound = 1 / math.sqrt(math.prod(down[1:]))
        return {
            "down": torch.empty(down).uniform_(-bound, bound, generator=plan.random(path)),
            "up": torch.zeros(up),
        }

    def _change(self, x: Tensor, out: Tensor) -> Tensor:
        return self._product(x, self.down, self.up)

    @abstractmethod
    def _product(self, x: Tensor, down: Tensor, up: Tensor) -> Tensor:
        """factor · scale · up(down(x)), for any such pair."""

    @abstractmethod
    def _shapes(self, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shapes of down and up."""

    @staticmethod
    def update_of(weights: Mapping[str, Tensor], scale: float) -> LoRA:
        down, up = weights["down"], weights["up"]
        return LoRA(down, up, scale * down.shape[0])


class LoRALinear(LoRALayer):
    """Low-rank update of a linear layer (Hu et al., 2021, arXiv:2106.09685).

    forward: (…, in) -> (…, out). down is (rank, in), up is (out, rank).
    """

    base: nn.Linear

    def _shapes(self, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        out, inputs = self.base.weight.shape
        return (rank, inputs), (out, rank)

    def _product(self, x: Tensor, down: Tensor, up: Tensor) -> Tensor:
        down, up = down.to(x.dtype), (self.factor * self.scale * up).to(x.dtype)
        return F.linear(F.linear(x, down), up)


class LoRAConv2d(LoRALayer):
    """Low-rank update of a convolution (LoCon): a rank-wide convolution of the same kernel, then a 1 × 1 one.

    forward: (n, in, h, w) -> (n, out, h', w'). down is (rank, in, kh, kw), up is (out, rank, 1, 1).
    """

    base: nn.Conv2d

    def _shapes(self, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        out, inputs, height, width = self.base.weight.shape
        return (rank, inputs, height, width), (out, rank, 1, 1)

    def _product(self, x: Tensor, down: Tensor, up: Tensor) -> Tensor:
        down, up = down.to(x.dtype), (self.factor * self.scale * up).to(x.dtype)
        narrow = F.conv2d(x, down, None, self.base.stride, self.base.padding, self.base.dilation)
        return F.conv2d(narrow, up)
