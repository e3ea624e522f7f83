"""The exact sum: added in fp32, rounded once."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdlora.adapters.algebra import mixed_weight
from sdlora.adapters.updates import Update
from tests.adapters.made import numbers, random_lora

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
terms_made_of = st.lists(
    st.tuples(st.floats(-2, 2), st.integers(1, 8), st.floats(0.5, 16), st.integers(0, 10_000)), min_size=1, max_size=5
)


class Constant(Update):
    """A kind of its own, of no low rank: the same number added everywhere."""

    kind, shape, alpha = "constant", None, None

    def __init__(self, number):
        self.number = number

    def fits(self, weight):
        return True

    def _delta(self, weight):
        return torch.full(weight.shape, self.number)

    def tensors(self):
        return {}


def half_ulp(values, dtype):
    """Half the distance between neighbours of `dtype` at these fp64 values."""
    info = torch.finfo(dtype)
    exponent = values.abs().clamp_min(info.smallest_normal).log2().floor()
    return info.eps * 2**exponent / 2


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@given(
    shape=st.sampled_from([(7, 5), (16, 33), (6, 5, 1, 1), (5, 4, 3, 3)]),
    made_of=terms_made_of,
    seed=st.integers(0, 10_000),
    size=st.sampled_from([1e-3, 0.1, 1.0]),
)
def test_the_sum_is_rounded_once(dtype, shape, made_of, seed, size):
    weight = numbers(shape, seed).to(dtype)
    terms = [(w, random_lora(shape, rank, alpha, s, size)) for w, rank, alpha, s in made_of]
    exact, magnitude = weight.double(), weight.double().abs()
    for w, update in terms:
        up, down, scale = update.up.double().flatten(1), update.down.double().flatten(1), update.alpha / update.rank
        exact = exact + (w * scale * (up @ down)).reshape(shape)
        magnitude = magnitude + (abs(w * scale) * (up.abs() @ down.abs())).reshape(shape)
    mixed = mixed_weight(weight, terms)
    assert mixed.dtype == dtype and mixed.shape == weight.shape
    assert ((mixed.double() - exact).abs() <= half_ulp(exact, dtype) + 2**-20 * magnitude).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_one_rounding_keeps_what_two_would_lose(dtype):
    """Two deltas, each too small to move a weight of this dtype, move it together."""
    weight = torch.ones(4, 4, dtype=dtype)
    delta = 0.4 * torch.finfo(dtype).eps
    update = random_lora((4, 4), 1, 1, 0)
    update.down.fill_(1)
    update.up.fill_(delta)
    assert torch.equal(mixed_weight(weight, [(1.0, update)]), weight)
    assert (mixed_weight(weight, [(1.0, update), (1.0, update)]) > weight).all()
    assert (mixed_weight(weight, [(1.0, update), (1.0, Constant(delta))]) > weight).all()
    assert (mixed_weight(weight, [(1.0, Constant(delta)), (1.0, Constant(delta))]) > weight).all()


def test_the_weight_itself_stays():
    weight = numbers((6, 5), 1)
    before = weight.clone()
    mixed = mixed_weight(weight, [(1.0, random_lora((6, 5), 2, 2, 3))])
    assert torch.equal(weight, before) and not torch.equal(mixed, before)
    assert mixed_weight(weight, []).data_ptr() != weight.data_ptr()


def test_a_channels_last_weight_gets_the_same_bits():
    weight = numbers((6, 8, 3, 3), 1)
    terms = [(0.7, random_lora((6, 8, 3, 3), 4, 2, 3))]
    assert torch.equal(mixed_weight(weight.to(memory_format=torch.channels_last), terms), mixed_weight(weight, terms))


def test_autocast_does_not_reach_the_sum():
    weight, terms = numbers((32, 32), 1), [(0.7, random_lora((32, 32), 4, 2, 3))]
    with torch.autocast("cpu", torch.bfloat16):
        inside = mixed_weight(weight, terms)
    assert torch.equal(inside, mixed_weight(weight, terms))
