"""Resizing: the nearest adapter of the smaller rank, as a full SVD of every ΔW would find it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdlora.adapters import Adapter
from sdlora.adapters.algebra import resize
from sdlora.adapters.algebra.low_rank import Reduction, reduced_matrix
from sdlora.adapters.updates import update_from
from sdlora.errors import Error
from tests.adapters.algebra.summed import delta64, relative
from tests.adapters.made import numbers, random_lora

Q = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
shapes = st.sampled_from([(7, 5), (40, 9), (9, 40), (6, 5, 1, 1), (16, 4, 3, 3)])


@given(
    shape=shapes, rank=st.integers(1, 12), new=st.integers(1, 12), alpha=st.floats(0.1, 64), seed=st.integers(0, 999)
)
def test_against_an_svd_of_the_whole_delta(shape, rank, new, alpha, seed):
    update = random_lora(shape, rank, alpha, seed)
    small, report = resize(Adapter("a", {Q: update}), rank=new)
    exact, found = delta64(update), delta64(small.updates[Q])
    u, values, v = torch.linalg.svd(exact, full_matrices=False)
    kept = min(rank, new, len(values))
    best = (u[:, :kept] * values[:kept]) @ v[:kept]
    assert small.updates[Q].shape == shape and small.updates[Q].rank == report.modules[Q].rank
    assert small.updates[Q].rank <= new
    assert (found - best).norm() <= 1e-5 * values[0]
    assert report.modules[Q].norm == pytest.approx(float(values.norm()), rel=1e-6)
    assert report.modules[Q].error == pytest.approx(float(values[kept:].norm()), rel=1e-4, abs=1e-6 * float(values[0]))


@given(sides=st.tuples(st.integers(1, 30), st.integers(1, 30)), rank=st.integers(1, 30), seed=st.integers(0, 9999))
def test_whole_deltas_are_cut_as_an_svd_would(sides, rank, seed):
    matrix = numbers(sides, seed)
    update, error = reduced_matrix(matrix, Reduction(rank=rank), sides)
    values = torch.linalg.svdvals(matrix.double())
    assert error.norm == pytest.approx(float(values.norm()), rel=1e-6)
    best = pytest.approx(float(values[rank:].norm()), rel=1e-4, abs=1e-6 * float(values.norm()))
    assert error.error == best and float((delta64(update) - matrix.double()).norm()) == best


def spectrum(values, shape=(12, 10)):
    """A LoRA with these singular values."""
    left = torch.linalg.qr(numbers((shape[0], len(values)), 1).double())[0]
    right = torch.linalg.qr(numbers((shape[1], len(values)), 2).double())[0].T
    parts = {"lora_up.weight": (left * torch.tensor(values)).float(), "lora_down.weight": right.float()}
    return update_from(parts)[0]


@pytest.mark.parametrize(
    ("wish", "rank"),
    [
        ({"rank": 3}, 3),
        ({"rank": 9}, 5),
        ({"keep": 1.0}, 5),
        ({"keep": 0.95}, 2),
        ({"keep": 0.76}, 1),
        ({"keep": 0.999999}, 5),
        ({"max_error": 0.0}, 5),
        ({"max_error": 0.21}, 2),
        ({"max_error": 0.19}, 3),
        ({"ratio": 1.0}, 1),
        ({"ratio": 2.1}, 2),
        ({"ratio": 10.1}, 4),
        ({"ratio": 10.1, "rank": 3}, 3),
        ({"keep": 0.95, "max_error": 0.01}, 5),
    ],
)
def test_each_wish_finds_its_rank(wish, rank):
    """The first n keep 0.768, 0.960, 0.990 and 0.998 of the energy and lose 0.482, 0.201, 0.098 and 0.044 of ‖ΔW‖."""
    values = [4, 2, 0.8, 0.4, 0.2]
    update = spectrum(values)
    small, report = resize(Adapter("a", {Q: update}), **wish)
    assert small.updates[Q].rank == rank
    lost = torch.tensor(values[rank:]).norm() / torch.tensor(values).float().norm()
    assert report.relative == pytest.approx(float(lost), rel=1e-3, abs=1e-6)
    assert relative(delta64(small.updates[Q]), delta64(update)) == pytest.approx(float(lost), rel=1e-3, abs=1e-6)


def test_each_module_has_its_own_rank():
    adapter = Adapter("a", {Q: spectrum([4, 2, 0.01]), "unet.conv_in": spectrum([1, 1, 1, 1])})
    small, _ = resize(adapter, keep=0.99)
    assert [update.rank for update in small.updates.values()] == [2, 4]
    assert small.metadata["ss_network_dim"] == "Dynamic"


def test_what_is_small_enough_stays_as_it_is():
    update = random_lora((12, 10), 4, 1.0, 1)
    small, report = resize(Adapter("a", {Q: update}), rank=4)
    assert small.updates[Q] is update and report.relative == 0


def test_nothing_comes_of_nothing():
    update = random_lora((12, 10), 4, 1.0, 1)
    update.up.zero_()
    small, report = resize(Adapter("a", {Q: update}), keep=0.9)
    assert small.updates[Q].rank == 1 and report.relative == 0
    assert not small.updates[Q].delta(torch.zeros(12, 10)).any()


def test_other_kinds_become_lora_and_the_rest_is_carried():
    rank_two = numbers((12, 2), 1) @ numbers((2, 10), 2)
    updates = {
        Q: update_from({"diff": rank_two})[0],
        "unet.conv_in": update_from({"diff": rank_two, "diff_b": numbers((12,), 3)})[0],
        "unet.conv_norm_out": update_from({"w_norm": numbers((12,), 4)})[0],
    }
    tokens, said = {"<s>": numbers((1, 8), 5)}, {"ss_network_dim": "64", "x": "y"}
    adapter = Adapter("a", updates, tokens, said, "sd1", tokens_2=tokens, geometry="custom")
    small, report = resize(adapter, rank=2)
    assert small.updates[Q].kind == "LoRA" and report.relative < 1e-6
    assert relative(delta64(small.updates[Q]), rank_two) < 1e-6
    for path in ("unet.conv_in", "unet.conv_norm_out"):
        assert small.updates[path] is updates[path]
    assert small.tokens is not adapter.tokens and small.tokens.keys() == {"<s>"}
    assert small.tokens_2.keys() == {"<s>"} and small.geometry == "custom"
    assert small.metadata == {"ss_network_dim": "2", "ss_network_alpha": "2.0", "x": "y"}
    assert small.family == "sd1"


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        ({}, "say how small"),
        ({"rank": 0}, "give 1 or more"),
        ({"keep": 0.0}, "more than 0"),
        ({"ratio": 0.5}, "give 1 or more"),
        ({"max_error": 1.0}, "less than 1"),
    ],
)
def test_mistakes_are_sentences(wish, sentence):
    with pytest.raises(Error, match=sentence):
        resize(Adapter("a", {Q: random_lora((12, 10), 4, 1.0, 1)}), **wish)
