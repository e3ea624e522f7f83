"""Every kind of trained layer: the frozen one at first, then what merging its update gives, here and in LyCORIS."""

import copy
import logging

import pytest
import torch
from torch import nn

from sdlora.adapters.updates import update_from
from sdlora.training.layers import KINDS, Plan, layer_for, updates_from


@pytest.fixture(params=[kind for kind in KINDS if kind != "bottleneck"])  # which nothing merged can stand for
def kind(request):
    return request.param


def made(base, kind, rank=3, **changes):
    return layer_for(base, Plan(rank, 2.0, kind=kind, seed=4, **changes), "unet.a")


@torch.no_grad()
def learned(layer):
    """A layer that has learned something: its weights moved by random numbers."""
    generator = torch.Generator().manual_seed(2)
    for weight in layer.weights.values():
        weight += 0.1 * torch.randn(weight.shape, generator=generator)
    return layer


@torch.no_grad()
def merged(base, update, factor=1.0):
    """The frozen layer with the update in its weight."""
    base = copy.deepcopy(base)
    base.weight += factor * update.delta(base.weight)
    return base


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_at_first_it_is_the_frozen_layer(base_and_input, kind, dtype):
    base, x = base_and_input[0].to(dtype), base_and_input[1].to(dtype)
    layer = made(base, kind)
    assert torch.equal(layer(x), base(x)) and layer(x).dtype == dtype
    assert all(weight.dtype == torch.float32 and "." not in name for name, weight in layer.weights.items())
    assert layer.as_update().delta(base.weight).abs().max() < 1e-2 * base.weight.abs().max()


@pytest.mark.parametrize("rank", [1, 3, 16])
def test_it_is_what_merging_gives_at_any_weight(base_and_input, kind, rank):
    base, x = base_and_input
    layer = learned(made(base, kind, rank))
    for factor in (1.0, -0.5):
        layer.factor = factor
        torch.testing.assert_close(layer(x), merged(base, layer.as_update(), factor)(x), rtol=1e-4, atol=1e-4)
    assert (layer(x) - base(x)).norm() > 0.01 * base(x).norm()
    layer.enabled = False
    assert torch.equal(layer(x), base(x))


def test_every_weight_learns_and_the_frozen_one_does_not(base_and_input, kind):
    base, x = base_and_input
    layer = learned(made(base, kind))
    layer(x).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.norm() > 0 for weight in layer.weights.values())
    assert all(weight.grad is None for weight in base.parameters())


def test_what_a_checkpoint_holds_makes_the_same_update(base_and_input, kind):
    base, _ = base_and_input
    layer = learned(made(base, kind, rank_stabilised=True))
    saved = {f"unet.a.{name}": weight.detach() for name, weight in layer.weights.items()}
    (update,) = updates_from(saved, Plan(3, 2.0, kind=kind, rank_stabilised=True)).values()
    assert torch.equal(update.delta(base.weight), layer.as_update().delta(base.weight))


def test_a_file_holds_all_of_it(base_and_input, kind):
    base, _ = base_and_input
    update = learned(made(base, kind)).as_update()
    again, understood = update_from(update.tensors())
    assert understood == set(update.tensors())
    assert torch.equal(update.delta(base.weight), again.delta(base.weight))


@pytest.mark.parametrize("rank", [1, 16])
def test_lycoris_makes_the_same_of_it(base_and_input, kind, rank):
    """Its own module of the parts that a file would have, in its forward pass."""
    pytest.importorskip("lycoris")
    from lycoris.logging import logger
    from lycoris.modules import get_module, make_module

    logger.setLevel(logging.ERROR)
    base, x = base_and_input
    layer = learned(made(base, kind, rank))
    parts = {f"a.{name}": tensor for name, tensor in layer.as_update().tensors().items()}
    theirs_base = copy.deepcopy(base)
    with torch.no_grad():
        theirs = make_module(*get_module(parts, "a"), "a", theirs_base)
        theirs.apply_to()
        torch.testing.assert_close(layer(x), theirs_base(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", [lambda: nn.Linear(48, 28), lambda: nn.Conv2d(12, 20, 3, padding=1)])
def test_dora_s_output_and_gradients_are_peft_s(make):
    peft = pytest.importorskip("peft")
    torch.manual_seed(1)
    model = nn.Sequential(make().requires_grad_(False))
    x = torch.randn((2, 5, 48) if isinstance(model[0], nn.Linear) else (2, 12, 9, 7))
    layer = learned(made(copy.deepcopy(model[0]), "dora"))
    theirs = peft.get_peft_model(model, peft.LoraConfig(r=3, lora_alpha=2, use_dora=True, target_modules=["0"]))
    own = theirs.base_model.model[0]
    places = {
        "down": own.lora_A["default"].weight,
        "up": own.lora_B["default"].weight,
        "magnitude": own.lora_magnitude_vector["default"].weight,
    }
    with torch.no_grad():
        for name, place in places.items():
            place.copy_(layer.weights[name].view(place.shape))
    outputs = layer(x), theirs(x)
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-5)
    for output in outputs:
        output.square().sum().backward()
    for name, place in places.items():
        torch.testing.assert_close(layer.weights[name].grad.view(place.shape), place.grad, rtol=1e-3, atol=1e-4)


def test_a_lokr_of_two_whole_factors_has_no_scale():
    layer = learned(made(nn.Linear(48, 28).requires_grad_(False), "lokr", rank=16))
    assert set(layer.weights) == {"w1", "w2"} and layer.as_update().scale == 1


def test_dora_s_lengths_are_of_the_weight_that_there_is():
    """Also after memory ran short and the frozen weight was rounded to fewer bits."""
    torch.manual_seed(1)
    base, x = nn.Linear(48, 28).requires_grad_(False), torch.randn(5, 48)
    layer = learned(made(base, "dora"))
    base.weight = nn.Parameter((base.weight * 16).round() / 16, requires_grad=False)
    fresh = made(base, "dora")
    with torch.no_grad():
        for name, weight in fresh.weights.items():
            weight.copy_(layer.weights[name])
    assert torch.equal(layer(x), fresh(x))
