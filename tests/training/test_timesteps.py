"""Which timesteps are seen how often: stratified positions through the inverse of a distribution."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdlora.training.timesteps import EVENLY, Timesteps

POSITIONS = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
KINDS = ["uniform", "logit_normal", "low", "high"]


def test_all_evenly_is_what_they_were():
    assert torch.equal(EVENLY.spread(POSITIONS), POSITIONS)


@given(
    first=st.floats(0, 0.9), share=st.floats(0.01, 1), kind=st.sampled_from(KINDS), u=st.floats(0, 1, exclude_max=True)
)
def test_they_stay_in_the_range_and_in_order(first, share, kind, u):
    last = first + (1 - first) * share
    spread = Timesteps(first, last, kind).spread(torch.tensor([u, (1 + u) / 2], dtype=torch.float64))
    assert ((spread >= first - 1e-12) & (spread <= last + 1e-12)).all() and spread[0] <= spread[1]


@pytest.mark.parametrize(
    ("kind", "mean"), [("uniform", 1 / 2), ("low", 1 / 3), ("high", 2 / 3), ("logit_normal", 1 / 2)]
)
def test_their_means(kind, mean):
    assert Timesteps(distribution=kind).spread(POSITIONS).mean().item() == pytest.approx(mean, abs=1e-4)


def test_the_density_of_low_is_a_falling_line():
    counts = torch.histc(Timesteps(distribution="low").spread(POSITIONS), bins=10, min=0, max=1) / len(POSITIONS)
    torch.testing.assert_close(counts, 0.2 * (1 - (torch.arange(10).double() + 0.5) / 10), atol=1e-3, rtol=0)


def test_logit_normal_is_the_logistic_of_a_normal_number():
    normal = Timesteps(distribution="logit_normal", mean=0.7, std=1.3).spread(POSITIONS).logit()
    assert normal.mean().item() == pytest.approx(0.7, abs=1e-3) and normal.std().item() == pytest.approx(1.3, abs=1e-2)
