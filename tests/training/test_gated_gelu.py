"""The gate that keeps less for the way back."""

import pytest
import torch
from diffusers.models.activations import GEGLU
from torch import nn

from sdlora.training.gated_gelu import LeanGEGLU, use_lean_gates


def answer(layer: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, int]:
    """The output, the gradient of the input, and how many bytes were kept for the way back."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    x = x.clone().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = layer(x)
    out.float().square().sum().backward()
    assert x.grad is not None
    return out, x.grad, sum(kept.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_same_numbers_with_less_kept(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer = GEGLU(8, 32).to(dtype).requires_grad_(False)
    x = torch.randn(3, 5, 8, dtype=dtype)
    expected, gradient, kept = answer(layer, x)
    use_lean_gates(nn.Sequential(layer))
    assert type(layer) is LeanGEGLU
    found, found_gradient, found_kept = answer(layer, x)
    assert torch.equal(found, expected)
    assert torch.equal(found_gradient, gradient)
    assert found_kept < kept
