"""LoRA against its formula, in fp64."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sdlora.adapters import LoRA
from sdlora.errors import Error
from tests.adapters.made import numbers, random_lora

sizes, ranks, seeds = st.integers(1, 24), st.integers(1, 12), st.integers(0, 10_000)
alphas = st.floats(-64, 64).map(lambda alpha: round(alpha, 3))  # 1e-189 would be zero in fp32
kernels = st.sampled_from([(), (1, 1), (3, 3), (1, 3)])


def fp64_delta(update):
    up, down = update.up.double().flatten(1), update.down.double().flatten(1)
    return update.alpha / update.rank * (up @ down), abs(update.alpha / update.rank) * (up.abs() @ down.abs())


@given(out=sizes, inputs=sizes, kernel=kernels, rank=ranks, alpha=alphas, seed=seeds)
def test_delta_is_the_scaled_product(out, inputs, kernel, rank, alpha, seed):
    shape = (out, inputs, *kernel)
    update = random_lora(shape, rank, alpha, seed)
    delta = update.delta(torch.zeros(shape, dtype=torch.bfloat16))
    expected, size = fp64_delta(update)
    assert delta.dtype == torch.float32 and delta.shape == shape
    assert ((delta.double().flatten(1) - expected).abs() <= 2**-20 * size).all()


@given(out=sizes, inputs=sizes, kernel=kernels.filter(bool), rank=ranks, alpha=alphas, seed=seeds)
def test_delta_of_a_convolution_does_what_the_two_convolutions_do(out, inputs, kernel, rank, alpha, seed):
    update = random_lora((out, inputs, *kernel), rank, alpha, seed)
    x = numbers((2, inputs, 5, 5), seed).double()
    one = F.conv2d(x, update.delta(torch.zeros(update.shape)).double())
    two = alpha / rank * F.conv2d(F.conv2d(x, update.down.double()), update.up.double())
    assert torch.allclose(one, two, rtol=1e-4, atol=1e-4)


@given(out=sizes, inputs=sizes, rank=ranks, seed=seeds)
def test_a_linear_layer_and_a_1x1_convolution_hold_the_same_numbers(out, inputs, rank, seed):
    as_convolution = random_lora((out, inputs, 1, 1), rank, rank / 2, seed)
    as_linear = LoRA(as_convolution.down[:, :, 0, 0], as_convolution.up[:, :, 0, 0], rank / 2)
    mixed = LoRA(as_convolution.down, as_linear.up, rank / 2)
    linear, convolution = torch.zeros(out, inputs), torch.zeros(out, inputs, 1, 1)
    for update in (as_linear, as_convolution, mixed):
        assert update.delta(linear).shape == linear.shape and update.delta(convolution).shape == convolution.shape
        assert torch.equal(update.delta(linear), as_linear.delta(linear))
        assert torch.equal(update.delta(convolution)[:, :, 0, 0], as_linear.delta(linear))


@settings(max_examples=20)
@given(out=sizes, inputs=sizes, kernel=st.sampled_from([(), (1, 1), (3, 3)]), rank=ranks, seed=seeds)
def test_delta_is_pefts(out, inputs, kernel, rank, seed):
    from peft import LoraConfig, inject_adapter_in_model

    layer = torch.nn.Conv2d(inputs, out, kernel, bias=False) if kernel else torch.nn.Linear(inputs, out, bias=False)
    model = inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=3, target_modules=["0"]), torch.nn.Sequential(layer))
    update = random_lora((out, inputs, *kernel), rank, 3, seed)
    with torch.no_grad():
        model[0].lora_A["default"].weight.copy_(update.down)
        model[0].lora_B["default"].weight.copy_(update.up)
        theirs = model[0].get_delta_weight("default")
    assert torch.allclose(update.delta(layer.weight), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weight", [(6, 5), (5, 4), (5, 6, 3, 3), (5,)])
def test_a_weight_of_another_shape_is_refused(weight):
    with pytest.raises(Error, match=r"weight \(5, 6\)"):
        random_lora((5, 6), 2, 1, 0).delta(torch.zeros(weight))


@pytest.mark.parametrize(
    ("down", "up"),
    [
        ((2, 6), (5, 3)),
        ((2, 6), (5,)),
        ((2, 6, 3), (5, 2, 1)),
        ((0, 6), (5, 0)),
        ((2, 0), (5, 2)),
        ((2, 6, 1, 1), (5, 2, 3, 3)),
        ((), ()),
    ],
)
def test_factors_that_do_not_go_together_are_refused(down, up):
    with pytest.raises(Error, match="do not make a LoRA"):
        LoRA(torch.ones(down), torch.ones(up), 1.0)


def test_an_alpha_that_is_no_number_is_refused():
    with pytest.raises(Error, match="alpha is nan"):
        LoRA(torch.ones(2, 6), torch.ones(5, 2), float("nan"))
