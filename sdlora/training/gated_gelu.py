"""GEGLU that keeps half as much for the way back."""

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.activations import GEGLU
from torch import Tensor, nn


class _GatedGelu(torch.autograd.Function):
    """h · gelu(g) of a projection (…, 2n) = [h, g], -> (…, n). gelu(g) is made again on the way back, not kept."""

    @staticmethod
    def forward(ctx: Any, projection: Tensor) -> Tensor:
        ctx.save_for_backward(projection)
        hidden, gate = projection.chunk(2, dim=-1)
        return hidden * F.gelu(gate)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (projection,), (gradient,) = ctx.saved_tensors, gradients
        hidden, gate = projection.chunk(2, dim=-1)
        back = torch.empty_like(projection)
        to_hidden, to_gate = back.chunk(2, dim=-1)
        torch.mul(gradient, F.gelu(gate), out=to_hidden)
        to_gate.copy_(torch.ops.aten.gelu_backward(gradient * hidden, gate))
        return back


class LeanGEGLU(GEGLU):
    """diffusers' gate of the feed-forward layers (Shazeer, 2020, arXiv:2002.05202): same numbers, same gradients."""

    def forward(self, hidden_states: Tensor, *args: object, **kwargs: object) -> Tensor:
        return _GatedGelu.apply(self.proj(hidden_states))


def use_lean_gates(network: nn.Module) -> None:
    """Have a network's gates keep less. Modules, weights and keys stay the very same."""
    for module in network.modules():
        if type(module) is GEGLU:
            module.__class__ = LeanGEGLU
