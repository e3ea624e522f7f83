"""Convolutions over small maps, made faster on CPUs."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALL = 128  # positions (n · h' · w'); above this the convolution kernel catches up
WIDE = 512  # channels; below this there are too few weights to matter


class SmallMapConv2d(nn.Conv2d):
    """A convolution that is written as a matrix product where its map is small.

    A 1280-wide convolution over 8 × 8 positions is little arithmetic on many weights, and CPU kernels spend up to five
    times as long on reordering these, anew in each call, as on the arithmetic. Weights in `channels_last` are the
    matrix (out, kh · kw · in) already, and a product reads them as they lie. Sums are rounded in another order.

    forward: (n, in, h, w) -> (n, out, h', w'), channels_last.
    """

    def forward(self, x: Tensor) -> Tensor:
        top, left = cast(tuple[int, int], self.padding)
        (height, width), (down, right) = self.kernel_size, self.stride
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, left, left, top, top))
        rows, columns = (padded.shape[1] - height) // down + 1, (padded.shape[2] - width) // right + 1
        if len(x) * rows * columns > SMALL:
            return super().forward(x)
        shifted = [
            padded[:, i : i + down * rows : down, j : j + right * columns : right]
            for i in range(height)
            for j in range(width)
        ]
        matrix = self.weight.permute(0, 2, 3, 1).flatten(1)
        return F.linear(torch.cat(shifted, dim=-1), matrix, self.bias).permute(0, 3, 1, 2)


def use_small_map_convolutions(network: nn.Module) -> None:
    """Have the wide convolutions of a network be matrix products where their maps are small; for CPUs.

    Modules, weights and keys stay the very same; only these modules' forward is another.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and module.in_channels >= WIDE and module.kernel_size != (1, 1):
            module.__class__ = SmallMapConv2d
