"""The frozen base's linear layers in 8 bits, by torchao: less memory, more time, and a base that is rounded.

Gradients go through to the input as through the layer itself, with weights that are off by half a percent; measured in
`tests/training/test_quantised.py`. Convolutions stay as they are: torchao has no such form of them.
"""

import warnings
from importlib.util import find_spec

import torch
from torch import nn

from ..errors import Error

INSTALL = "pip install 'sdlora[quant]'"


def quantise(network: nn.Module) -> None:
    """Each linear layer's weight as int8 with one scale a row, in place; what is so already stays as it is.

    Raises `Error` where torchao is missing.
    """
    if find_spec("torchao") is None:
        raise Error(f"quantised = true needs torchao: install it with  {INSTALL}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchao.quantization import Int8WeightOnlyConfig, quantize_

        quantize_(network, Int8WeightOnlyConfig(), filter_fn=lambda module, _: _is_plain(module))


def saved_bytes(network: nn.Module) -> int:
    """What `quantise` would save of a network's weights, but for the scales."""
    plain = [module for module in network.modules() if isinstance(module, nn.Linear) and _is_plain(module)]
    return sum(layer.weight.numel() * (layer.weight.itemsize - 1) for layer in plain)


def obstacle(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why the base can't be trained through in 8 bits here; None where a small layer could."""
    if find_spec("torchao") is None:
        return f"torchao is not installed ({INSTALL})"
    layer = nn.Linear(64, 32, device=device, dtype=dtype).requires_grad_(False)
    x = torch.linspace(-1, 1, 128, device=device).view(2, 64).to(dtype).requires_grad_()
    expected = torch.autograd.grad(layer(x).square().sum(), x)[0]
    try:
        quantise(layer)
        got = torch.autograd.grad(layer(x).square().sum(), x)[0]
    except Exception as problem:  # whatever a build of torchao lacks here
        return f"torchao can't on {device} ({type(problem).__name__}: {problem})"
    return None if (got - expected).norm() < 0.1 * expected.norm() else f"torchao's gradients are wrong on {device}"


def _is_plain(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) and type(module.weight) is nn.Parameter
