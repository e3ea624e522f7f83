"""A frozen linear layer whose weight is in few bits, and whole only while it is multiplied with, a part at a time.

torchao's own product keeps the whole weight of each 8-bit layer until the backward pass, which is more than the plain
base takes, and makes NF4's by way of index tensors of eight bytes a weight. Here nothing but the input's gradient is
left to do in the backward pass, and it makes the parts again.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PART = 1 << 21  # weights that are whole at once


class RoundedLinear(nn.Linear):
    """A linear layer after `quantise`: torchao's tensors as weights, computed with as they stand."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled(x.device.type):  # which knows no product of ours
            x = x.to(torch.get_autocast_dtype(x.device.type))
        out = product(x, self.weight)
        return out if self.bias is None else out + self.bias.to(out.dtype)


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x · Wᵀ (…, outputs) of inputs (…, inputs) and a weight in few bits, which gets no gradient."""
    out: Tensor = _Product.apply(x, weight)
    return out


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.weight = weight
        out = x.new_empty(*x.shape[:-1], weight.shape[0])
        for rows, values in _parts(weight, x.dtype):
            out[..., rows] = F.linear(x, values)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        total = None
        for rows, values in _parts(ctx.weight, gradient.dtype):
            own = gradient[..., rows] @ values
            total = own if total is None else torch.add(total.float(), own)  # sums of several parts are rounded once
        assert total is not None
        return total.to(gradient.dtype), None


def _parts(weight: Any, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
    """Rows and their values (rows, inputs)."""
    outputs, inputs = weight.shape
    four_bits = hasattr(weight, "get_original_weight")
    unit = math.lcm(inputs, weight.block_size) // inputs if four_bits else 1  # rows that are whole blocks
    step = max(unit, PART // inputs // unit * unit)
    scales = _scales(weight) if four_bits else weight.scale.view(-1, 1)
    for first in range(0, outputs, step):
        rows = slice(first, min(first + step, outputs))
        values = _in_four_bits(weight, scales, rows) if four_bits else weight.qdata[rows] * scales[rows]
        yield rows, values.to(dtype)


def _scales(weight: Any) -> Tensor:
    """NF4's of all blocks, which are in 8 bits themselves."""
    return weight.dequantize_scalers(weight.quantized_scalers, weight.quantization_factor, weight.scaler_block_size)


def _in_four_bits(weight: Any, scales: Tensor, rows: slice) -> Tensor:
    """The very values of `get_original_weight`; a byte is two weights, the first in its upper half."""
    inputs, block = weight.shape[1], weight.block_size
    first, last = rows.start * inputs, rows.stop * inputs
    both = torch.arange(256, device=weight.device)
    pairs = torch.stack([weight.nf4[both >> 4], weight.nf4[both & 15]], dim=1)
    values = F.embedding(weight.quantized_data[first // 2 : last // 2].int(), pairs).view(-1, block)
    return (values * scales[first // block : last // block, None]).view(-1, inputs)
