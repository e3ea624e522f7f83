"""Trainable layers: the frozen one at first, then exactly what merging their update would give."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sdlora.training.layers import Plan, layer_for


def made(base, rank=3, alpha=2.0, dropout=0.0, seed=0):
    return layer_for(base.requires_grad_(False), Plan(rank, alpha, dropout=dropout, seed=seed), "unet.a")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_at_first_it_is_the_frozen_layer(base_and_input, dtype):
    base, x = base_and_input
    base, x = base.to(dtype), x.to(dtype)
    layer = made(base)
    assert torch.equal(layer(x), base(x)) and layer(x).dtype == dtype
    assert layer.up.dtype == layer.down.dtype == torch.float32
    assert layer.down.abs().sum() > 0


def test_equals_the_merged_weight(base_and_input):
    base, x = base_and_input
    layer = made(base)
    nn.init.normal_(layer.up)
    output = layer(x)
    with torch.no_grad():
        base.weight += layer.as_update().delta(base.weight)
    torch.testing.assert_close(output, base(x), rtol=1e-4, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(rank=st.integers(1, 9), alpha=st.floats(0.1, 64))
def test_the_update_says_the_scale_it_was_trained_with(rank, alpha):
    layer = made(nn.Linear(12, 7), rank, alpha)
    update = layer.as_update()
    assert update.rank == rank and update.alpha == pytest.approx(alpha) and update.scale == pytest.approx(layer.scale)


def test_only_the_update_learns():
    layer = made(nn.Linear(12, 7))
    layer(torch.randn(3, 12)).sum().backward()
    assert layer.base.weight.grad is None and layer.up.grad is not None
    assert {name for name, p in layer.named_parameters() if p.requires_grad} == {"down", "up"}


def test_the_update_is_a_copy():
    layer = made(nn.Linear(12, 7))
    update = layer.as_update()
    with torch.no_grad():
        layer.up += 1
    assert update.up.abs().sum() == 0
