"""Trainable low-rank layers that stand in for frozen ones."""

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..adapters.updates import LoRA
from .example_dropout import ExampleDropout


class LoRALayer(nn.Module, ABC):
    """A frozen layer plus a trainable low-rank update, (alpha / rank) · up(down(x)), kept in fp32.

    `down` starts at random (Kaiming-uniform, as in the paper's code), `up` at zero: at first the layer is the frozen
    one, bit for bit.
    """

    base: nn.Linear | nn.Conv2d

    def __init__(
        self, base: nn.Linear | nn.Conv2d, rank: int, alpha: float, dropout: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.base = base
        self.scale = alpha / rank
        self.dropout = ExampleDropout(dropout)
        self.enabled = True
        down, up = self._shapes(rank)
        bound = 1 / math.sqrt(math.prod(down[1:]))
        start = torch.empty(down).uniform_(-bound, bound, generator=generator)
        device = base.weight.device
        self.down = nn.Parameter(start.to(device))
        self.up = nn.Parameter(torch.zeros(up, device=device))

    @abstractmethod
    def _shapes(self, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shapes of down and up."""

    @abstractmethod
    def _update(self, x: Tensor) -> Tensor:
        """What is added to the frozen layer's output."""

    def forward(self, x: Tensor, *args: object, **kwargs: object) -> Tensor:
        out = self.base(x, *args, **kwargs)
        return out + self._update(self.dropout(x) if self.training else x) if self.enabled else out

    def as_update(self) -> LoRA:
        """The update as data, a copy on the CPU."""
        down, up = (p.detach().cpu().clone(memory_format=torch.contiguous_format) for p in (self.down, self.up))
        return LoRA(down, up, self.scale * down.shape[0])


class LoRALinear(LoRALayer):
    """Low-rank update of a linear layer (Hu et al., 2021, arXiv:2106.09685).

    forward: (…, in) -> (…, out). down is (rank, in), up is (out, rank).
    """

    base: nn.Linear

    def _shapes(self, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        out, inputs = self.base.weight.shape
        return (rank, inputs), (out, rank)

    def _update(self, x: Tensor) -> Tensor:
        down, up = self.down.to(x.dtype), (self.scale * self.up).to(x.dtype)
        return F.linear(F.linear(x, down), up)


class LoRAConv2d(LoRALayer):
    """Low-rank update of a convolution (LoCon): a rank-wide convolution of the same kernel, then a 1 × 1 one.

    forward: (n, in, h, w) -> (n, out, h', w'). down is (rank, in, kh, kw), up is (out, rank, 1, 1).
    """

    base: nn.Conv2d

    def _shapes(self, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        out, inputs, height, width = self.base.weight.shape
        return (rank, inputs, height, width), (out, rank, 1, 1)

    def _update(self, x: Tensor) -> Tensor:
        down, up = self.down.to(x.dtype), (self.scale * self.up).to(x.dtype)
        narrow = F.conv2d(x, down, None, self.base.stride, self.base.padding, self.base.dilation)
        return F.conv2d(narrow, up)
