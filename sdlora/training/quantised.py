"""The frozen base's linear layers in 8 or 4 bits, by torchao: less memory, more time, and a base that is rounded.

8 bits: int8 with a scale for each row, half a percent off. 4 bits: NF4, the sixteen values that a normal distribution
fills evenly, with a scale for each block of 64 that is itself in 8 bits (QLoRA, Dettmers et al., 2023,
arXiv:2305.14314), 9 % off. Gradients go through to the input as through the layer itself, with the rounded
weights (`rounded_linear`); measured in `tests/training/test_quantised.py`. Convolutions stay as they are: torchao has
no such form.
"""

import math
import warnings
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from ..bases.dequantised import dequantised
from ..errors import Error
from .rounded_linear import RoundedLinear

INSTALL = "pip install 'sdlora[quant]'"
BLOCK, SCALES = 64, 256  # weights that share a scale, and at most so many scales that share one in turn
BITS = {"8bit": 8.0, "4bit": 4.0 + 8 / BLOCK}


def quantise(network: nn.Module, how: str) -> None:
    """Each linear layer's weight, in place, as `how` (`8bit`, `4bit`) says; what is so already stays as it is.

    To 4 bits it goes through 8, so that a base which is in 8 bits becomes the very same one as a plain one does.
    Raises `Error` where torchao is missing.
    """
    if find_spec("torchao") is None:
        raise Error(f"quantised = {how} needs torchao: install it with  {INSTALL}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchao.quantization import Int8WeightOnlyConfig, quantize_

        quantize_(network, Int8WeightOnlyConfig(), filter_fn=lambda module, _: _is_plain(module))
        for module in network.modules() if how == "4bit" else ():
            if isinstance(module, nn.Linear) and (four := _in_four_bits(module.weight)) is not None:
                module.weight = nn.Parameter(four, requires_grad=False)
        for module in network.modules():
            if type(module) is nn.Linear and not _is_plain(module):
                module.__class__ = RoundedLinear  # the same layer with another product


def is_quantised(network: nn.Module) -> bool:
    """Whether any layer's weight is."""
    return any(isinstance(module, nn.Linear) and not _is_plain(module) for module in network.modules())


def saved_bytes(network: nn.Module, how: str) -> int:
    """What `quantise` would save of a network's weights, about: but for the scales in 8 bits."""
    layers = [module.weight for module in network.modules() if isinstance(module, nn.Linear)]
    return sum(max(0, round(weight.numel() * (_bits(weight) - BITS[how]) / 8)) for weight in layers)


def obstacle(how: str, device: torch.device, dtype: torch.dtype) -> str | None:
    """Why the base can't be trained through in so few bits here; None where a small layer could."""
    if find_spec("torchao") is None:
        return f"torchao is not installed ({INSTALL})"
    layer = nn.Linear(64, 128, device=device, dtype=dtype).requires_grad_(False)
    x = torch.linspace(-1, 1, 128, device=device).view(2, 64).to(dtype).requires_grad_()
    expected = torch.autograd.grad(layer(x).square().sum(), x)[0]
    try:
        quantise(layer, how)
        got = torch.autograd.grad(layer(x).square().sum(), x)[0]
    except Exception as problem:  # whatever a build of torchao lacks here
        return f"torchao can't on {device} ({type(problem).__name__}: {problem})"
    return None if (got - expected).norm() < 0.3 * expected.norm() else f"torchao's gradients are wrong on {device}"


def _in_four_bits(weight: Tensor) -> Tensor | None:
    """NF4 of a weight in 8 bits; None for one that is so already, and for a shape that blocks do not divide."""
    from torchao.quantization import NF4Tensor, to_nf4

    blocks = weight.numel() // BLOCK
    if isinstance(weight, NF4Tensor) or weight.numel() % BLOCK or (shared := math.gcd(blocks, SCALES)) < 8:
        return None
    values = dequantised(weight)
    assert values is not None
    four = to_nf4(values.contiguous(), BLOCK, shared)
    return four if four.get_original_weight().isfinite().all() else None  # equal scales can't be scaled in turn


def _bits(weight: Tensor) -> float:
    if type(weight) is nn.Parameter:
        return 8 * weight.itemsize
    return BITS["4bit"] if hasattr(weight, "get_original_weight") else BITS["8bit"]


def _is_plain(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) and type(module.weight) is nn.Parameter
