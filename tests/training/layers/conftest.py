"""Frozen layers of every form that is adapted, and an input for each."""

import pytest
import torch
from torch import nn

BASES = {
    "linear": (lambda: nn.Linear(48, 28), (2, 5, 48)),
    "linear without bias": (lambda: nn.Linear(48, 28, bias=False), (2, 5, 48)),
    "convolution": (lambda: nn.Conv2d(12, 20, 3, padding=1), (2, 12, 9, 7)),
    "strided": (lambda: nn.Conv2d(12, 20, 3, stride=2, padding=1), (2, 12, 9, 8)),
    "one by one": (lambda: nn.Conv2d(12, 20, 1), (2, 12, 5, 5)),
}


@pytest.fixture(params=BASES)
def base_and_input(request):
    make, shape = BASES[request.param]
    torch.manual_seed(1)
    return make().requires_grad_(False), torch.randn(shape)
