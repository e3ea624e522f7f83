"""What a base's modules are to a mix: what shape their weight has, and whether it can be written to."""

from typing import Any

import torch
from torch import Tensor, nn

from ..bases.dequantised import dequantised

MERGED_IN = {torch.float64, torch.float32, torch.bfloat16, torch.float16}  # in 8 bits a faint adapter would be lost


def weight_shape(module: Any) -> tuple[int, ...] | None:
    """The shape of the module's weight as the network means it, however it is kept; None without a weight.

    (out, in) for anything like a linear layer, (out, in, kh, kw) for a convolution, (channels,) for a norm.
    """
    if is_linear(module):
        return module.out_features, module.in_features
    if is_convolution(module):
        return module.out_channels, module.in_channels // module.groups, *module.kernel_size
    weight = getattr(module, "weight", None)
    return tuple(weight.shape) if isinstance(weight, Tensor) else None


def is_linear(module: Any) -> bool:
    return isinstance(getattr(module, "in_features", None), int) and isinstance(
        getattr(module, "out_features", None), int
    )


def is_convolution(module: Any) -> bool:
    return hasattr(module, "in_channels") and len(getattr(module, "kernel_size", ())) == 2


def is_multiplying(module: Any) -> bool:
    """Whether its outputs are its weight times its inputs, by a product or a convolution."""
    return is_linear(module) or is_convolution(module)


def is_mergeable(module: Any) -> bool:
    """Whether what is written to the module's weight is what it computes with.

    That is sure of PyTorch's own layers with plain numbers. Quantised layers are of a class of their own
    (bitsandbytes, quanto) or have a tensor of a class of its own for a weight (torchao). Offloaded ones may have none.
    """
    weight = module._parameters.get("weight")
    plain = type(weight) in (Tensor, nn.Parameter) and weight.dtype in MERGED_IN and not weight.is_meta
    return plain and type(module).__module__.startswith("torch.nn.modules.")


def device_of(module: Any) -> torch.device:
    """Where the module's numbers lie; the CPU where nobody can tell, as of what is offloaded."""
    kept = (*module._parameters.values(), *module._buffers.values())
    return next((t.device for t in kept if t is not None and not t.is_meta), torch.device("cpu"))


def tells_weight(module: Any) -> bool:
    """Whether `own_weight` can say what the module computes with."""
    return is_mergeable(module) or is_linear(module) or dequantised(getattr(module, "weight", None)) is not None


def own_weight(module: Any) -> Tensor:
    """The weight that the module computes with, in `weight_shape`, however it is kept, if it tells."""
    if is_mergeable(module):
        return module.weight.detach()
    told = dequantised(getattr(module, "weight", None))
    return _by_unit_vectors(module) if told is None else told


@torch.no_grad()
def _by_unit_vectors(module: Any) -> Tensor:
    """The weight (out, in) of a linear layer from what it makes of the unit vectors, its hooks left out.

    In the dtype of its bias, if it has one in a plain dtype, else fp32.
    """
    bias = getattr(module, "bias", None)
    dtype = bias.dtype if isinstance(bias, Tensor) and bias.dtype in MERGED_IN else torch.float32
    units = torch.eye(module.in_features, dtype=dtype, device=device_of(module))
    outputs = module.forward(units)
    return (outputs if bias is None else outputs - module.forward(torch.zeros_like(units[:1]))).T
