"""Stand-ins for other people's quantised layers, and bases made of them."""

import torch
import torch.nn.functional as F
from torch import nn

from sdlora.bases import load_base


class Int8Linear(nn.Module):
    """A linear layer that keeps one byte a weight, packed so that only its features tell the shape."""

    def __init__(self, linear):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        scale = linear.weight.detach().float().abs().amax(1, keepdim=True) / 127
        packed = (linear.weight.detach().float() / scale).round().to(torch.int8).reshape(-1, 1)
        self.weight = nn.Parameter(packed, requires_grad=False)
        self.register_buffer("scale", scale)
        self.bias = linear.bias

    def dense(self):
        return self.weight.reshape(self.out_features, self.in_features) * self.scale

    def forward(self, x):
        return F.linear(x, self.dense().to(x.dtype), self.bias)


class Int8Conv(nn.Module):
    """A convolution that does not tell its weight."""

    def __init__(self, conv):
        super().__init__()
        self.in_channels, self.out_channels, self.groups = conv.in_channels, conv.out_channels, conv.groups
        self.kernel_size, self.stride, self.padding, self.dilation = (
            conv.kernel_size,
            conv.stride,
            conv.padding,
            conv.dilation,
        )
        self.padding_mode, self.bias = conv.padding_mode, conv.bias
        self.register_buffer("scale", conv.weight.detach().float().abs().max() / 127)
        self.register_buffer("weight", (conv.weight.detach().float() / self.scale).round().to(torch.int8))

    def forward(self, x):
        kernel = (self.weight * self.scale).to(x.dtype)
        return F.conv2d(x, kernel, self.bias, self.stride, self.padding, self.dilation, self.groups)


def quantised(root, kind, stand_in):
    """Put a stand-in in the place of every module of this kind."""
    for module in list(root.modules()):
        for name, child in list(module.named_children()):
            if type(child) is kind:
                setattr(module, name, stand_in(child))


def int8_mini(dtype=torch.float32):
    """Mini with the UNet's linear layers quantised, and a plain mini with the weights that those really have."""
    base, dense = load_base("mini", dtype=dtype), load_base("mini", dtype=dtype)
    quantised(base.unet, nn.Linear, Int8Linear)
    for path, module in base.modules().items():
        if isinstance(module, Int8Linear):
            dense.modules()[path].weight.data.copy_(module.dense())
    return base, dense
