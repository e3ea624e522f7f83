"""What an adapter does to one module: one small class a kind, each able to say its `delta(W)`."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import Error


class Update(ABC):
    """A change to one module's weight (and, for some kinds, its bias). Pure data: no model attached."""

    @abstractmethod
    def delta(self, weight: Tensor) -> Tensor:
        """ΔW in fp32 on the weight's device, in the shape of `weight`: (out, in) or (out, in, kh, kw).

        Raises `Error` when the update was made for a module of another shape.
        """

    def bias_delta(self, bias: Tensor) -> Tensor | None:
        """What is added to the module's bias (out,), in fp32; None where the kind leaves biases alone."""
        return None

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """The parts that a file keeps, by the kind's own names; with `alpha` they say all there is to say."""


@dataclass(frozen=True, eq=False)
class LoRA(Update):
    """ΔW = (alpha / rank) · up · down (Hu et al., 2021, arXiv:2106.09685).

    Linear: down (rank, in), up (out, rank). Convolution: down (rank, in, kh, kw), up (out, rank, 1, 1); a 1×1
    convolution and a linear layer hold the same numbers, so either fits the other.
    """

    down: Tensor
    up: Tensor
    alpha: float

    def __post_init__(self) -> None:
        down, up = tuple(self.down.shape), tuple(self.up.shape)
        fitting = len(down) in (2, 4) and len(up) in (2, 4) and down[0] == up[1] and up[2:] in ((), (1, 1))
        if not fitting or 0 in down + up:
            raise Error(f"down {down} and up {up} do not make a LoRA update")
        if not math.isfinite(self.alpha):
            raise Error(f"alpha is {self.alpha}")

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the weight this was made for."""
        return (self.up.shape[0], *self.down.shape[1:])

    def factors(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """(scale · up, down) as fp32 matrices (out, rank) and (rank, in·kh·kw), whose product is ΔW."""
        up = self.up.to(device, torch.float32).flatten(1)
        return up * self.scale, self.down.to(device, torch.float32).flatten(1)

    def fits(self, weight: Tensor) -> bool:
        """Whether ΔW has the weight's shape, trailing 1 × 1 kernels aside."""
        return _without_unit_kernel(self.shape) == _without_unit_kernel(tuple(weight.shape))

    def delta(self, weight: Tensor) -> Tensor:
        if not self.fits(weight):
            raise Error(f"the update is for a weight {self.shape}, the module's weight is {tuple(weight.shape)}")
        up, down = self.factors(weight.device)
        return (up @ down).reshape(weight.shape)

    def tensors(self) -> dict[str, Tensor]:
        return {"down": self.down, "up": self.up}


def _without_unit_kernel(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:2] if shape[2:] == (1, 1) else shape
