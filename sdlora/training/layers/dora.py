"""DoRA: a weight's direction by a low-rank update, its norms apart."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...adapters.updates import DoRA
from ...bases.dequantised import dequantised
from ..rounded_linear import RoundedLinear, product
from .lora import LoRAConv2d, LoRALayer, LoRALinear
from .plan import Plan


class DoRALayer(LoRALayer):
    """W + ΔW = magnitude · (W + D) / ‖W + D‖, D = scale · up · down, with one norm for each output (Liu et al., 2024,
    arXiv:2402.09353). The norm counts as a constant for gradients, as in the paper's section 4.3.

    `magnitude` (out, 1, …) starts as ‖W‖.
    """

    magnitude: nn.Parameter

    def _starts(self, plan: Plan, path: str) -> dict[str, Tensor]:
        self._square()
        shape = (-1, *(1 for _ in self.base.weight.shape[1:]))
        return super()._starts(plan, path) | {"magnitude": self._squares.sqrt().view(shape)}

    def _square(self) -> None:
        """‖W‖² of each output (out)."""
        frozen = dequantised(self.base.weight)
        weight = (self.base.weight if frozen is None else frozen).detach().float()
        self._squares = weight.square().flatten(1).sum(1)
        self._squared = id(self.base.weight)

    def _change(self, x: Tensor, out: Tensor) -> Tensor:
        ratio = self.magnitude / self._norms(x.dtype)
        turned = self._product(x, self.down, ratio * self.up)
        shape = (-1, 1, 1) if self.up.ndim == 4 else (-1,)
        frozen = out if self.base.bias is None else out - self.base.bias.view(shape)
        return torch.addcmul(turned, frozen, (self.factor * (ratio - 1)).to(x.dtype).view(shape))

    @torch.no_grad()
    def _norms(self, dtype: torch.dtype) -> Tensor:
        """‖W + D‖ of each output in fp32, (out, 1, …): ‖W‖² + 2⟨W, D⟩ + ‖D‖², which needs no matrix as large as W."""
        if self._squared != id(self.base.weight):  # memory ran short, and it was rounded to fewer bits
            self._square()
        down, up = self.down.flatten(1), self.scale * self.up.flatten(1)
        rounded = isinstance(self.base, RoundedLinear)
        of_base = F.conv2d if self.up.ndim == 4 else product if rounded else F.linear
        shared = of_base(self.down.to(dtype), self.base.weight).flatten(1).T.float()  # W · downᵀ
        squares = self._squares + (up * (2 * shared + up @ (down @ down.T))).sum(1)
        norms = squares.clamp(min=0).sqrt()
        # a row of zeros has no direction and stays zero
        return norms.where(norms > 0, 1.0).view_as(self.magnitude)

    @staticmethod
    def update_of(weights: Mapping[str, Tensor], scale: float) -> DoRA:  # type: ignore[override]
        return DoRA(LoRALayer.update_of(weights, scale), weights["magnitude"])


class DoRALinear(DoRALayer, LoRALinear):
    """Of a linear layer. forward: (…, in) -> (…, out)."""


class DoRAConv2d(DoRALayer, LoRAConv2d):
    """Of a convolution. forward: (n, in, h, w) -> (n, out, h', w')."""
