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
        out: Tensor = _Product.apply(x, self.weight)
        return out if self.bias is None else out + self.bias


class _Product(torch.autograd.Function):
    """x · Wᵀ, with no gradient for W."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.weight = weight
        out = x.new_empty(*x.shape[:-1], weight.shape[0])
        for rows, values, scale in _parts(weight, x.dtype):
            product = F.linear(x, values)
            out[..., rows] = product if scale is None else product * scale
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        total = None
        for rows, values, scale in _parts(ctx.weight, gradient.dtype):
            own = gradient[..., rows] if scale is None else gradient[..., rows] * scale
            product = own @ values
            # sums of several parts are rounded once
            total = product if total is None else torch.add(total.float(), product)
        assert total is not None
        return total.to(gradient.dtype), None


def _parts(weight: Any, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor, Tensor | None]]:
    """Rows, their values (rows, inputs), and what each row is still to be multiplied by, if anything."""
    outputs, inputs = weight.shape
    four_bits = hasattr(weight, "get_original_weight")
    unit = math.lcm(inputs, weight.block_size) // inputs if four_bits else 1  # rows that are whole blocks
    step = max(unit, PART // inputs // unit * unit)
    scales = _scales(weight) if four_bits else weight.scale.flatten().to(dtype)
    for first in range(0, outputs, step):
        rows = slice(first, min(first + step, outputs))
        if four_bits:
            yield rows, _in_four_bits(weight, scales, rows).to(dtype), None
        else:
            yield rows, weight.qdata[rows].to(dtype), scales[rows]


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
