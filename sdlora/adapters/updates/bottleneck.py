"""Bottleneck adapters: a small network behind a module, which no change of the module's weight can stand for."""

from dataclasses import dataclass
from typing import ClassVar, Self

import torch.nn.functional as F
from torch import Tensor

from ...errors import Error
from .parts import Parts, check_factors, part
from .update import Update


@dataclass(frozen=True, eq=False)
class Bottleneck(Update):
    """y + up · gelu(down · y + down_bias) + up_bias for a linear layer's outputs y (Houlsby et al., 2019,
    arXiv:1902.00751).

    down (rank, out), down_bias (rank,), up (out, rank), up_bias (out,). The nonlinearity is why it can't be merged.
    """

    down: Tensor
    down_bias: Tensor
    up: Tensor
    up_bias: Tensor

    kind = "bottleneck"
    alpha = None
    shape = None  # whatever the module reads, it is its outputs that count
    mergeable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        down, up = tuple(self.down.shape), tuple(self.up.shape)
        if len(down) != 2 or up != down[::-1] or self.down_bias.shape != down[:1] or self.up_bias.shape != up[:1]:
            raise Error(f"down {down} and up {up} with their biases do not make a bottleneck")
        check_factors("bottleneck", self.rank, 1.0, self.down, self.up)

    @classmethod
    def from_parts(cls, parts: Parts) -> Self:
        return cls(*(part(parts, f"bottleneck_{name}") for name in ("down", "down_bias", "up", "up_bias")))

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    @property
    def made_for(self) -> str:
        return f"a linear layer with {len(self.up)} outputs"

    def fits(self, weight: Tensor) -> bool:
        return weight.ndim == 2 and weight.shape[0] == len(self.up)

    def after(self, outputs: Tensor) -> Tensor:
        """What is added to the module's outputs (…, out), computed in their dtype."""
        own = self.suited_to(outputs)
        return F.linear(F.gelu(F.linear(outputs, own.down, own.down_bias)), own.up, own.up_bias)

    def suited_to(self, outputs: Tensor) -> "Bottleneck":
        """The same in the dtype of the outputs and where they are; itself where that is so already."""
        if (self.down.device, self.down.dtype) == (outputs.device, outputs.dtype):
            return self
        return Bottleneck(*(t.to(outputs.device, outputs.dtype) for t in self.tensors().values()))

    def tensors(self) -> dict[str, Tensor]:
        names = ("down", "down_bias", "up", "up_bias")
        return {f"bottleneck_{name}": getattr(self, name) for name in names}

    def delta(self, weight: Tensor) -> Tensor:
        return self._delta(weight)

    def _delta(self, weight: Tensor) -> Tensor:
        raise Error(
            "a bottleneck adapter is a network of its own behind a module and no change of its weight: it can be drawn "
            "with, not merged, resized, compared or written into a checkpoint"
        )
