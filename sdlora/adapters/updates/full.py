"""The difference itself: of whole weights, and of norm layers."""

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from ...errors import Error
from .parts import Parts, fp32, part
from .update import Update


@dataclass(frozen=True, eq=False)
class Full(Update):
    """ΔW = diff, in the weight's shape; `bias` (out,) is added to the module's bias."""

    diff: Tensor
    bias: Tensor | None = None

    kind = "full"
    alpha = None
    names: ClassVar[tuple[str, str]] = ("diff", "diff_b")

    def __post_init__(self) -> None:
        shape = tuple(self.diff.shape)
        if self.diff.ndim not in (1, 2, 4) or self.diff.numel() == 0:
            raise Error(f"its {self.names[0]} is {shape}, which is no weight's shape")
        if self.bias is not None and tuple(self.bias.shape) != shape[:1]:
            raise Error(f"its {self.names[1]} is {tuple(self.bias.shape)}, its {self.names[0]} {shape}")

    @classmethod
    def from_parts(cls, parts: Parts) -> Self:
        return cls(part(parts, cls.names[0]), parts.get(cls.names[1]))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.diff.shape)

    @property
    def changes_bias(self) -> bool:
        return self.bias is not None

    def bias_delta(self, bias: Tensor) -> Tensor | None:
        if self.bias is None:
            return None
        if self.bias.shape != bias.shape:
            raise Error(f"the update is for a bias {tuple(self.bias.shape)}, the module's is {tuple(bias.shape)}")
        return fp32(self.bias, bias)

    def tensors(self) -> dict[str, Tensor]:
        parts = {self.names[0]: self.diff}
        return parts if self.bias is None else parts | {self.names[1]: self.bias}

    def _delta(self, weight: Tensor) -> Tensor:
        return self.diff.to(weight.device, torch.float32, copy=True)


class Norm(Full):
    """The change of a norm layer's weight (channels,) and bias, as LyCORIS keeps it."""

    kind = "norm"
    names: ClassVar[tuple[str, str]] = ("w_norm", "b_norm")
