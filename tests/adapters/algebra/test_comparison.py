"""Comparing: what whole deltas would say, said by factors."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdlora.adapters import Adapter
from sdlora.adapters.algebra import block_of, compare, strength
from sdlora.adapters.updates import update_from
from sdlora.errors import Error
from tests.adapters.algebra.summed import delta64
from tests.adapters.made import numbers, random_lora

DOWN = "unet.down_blocks.1.attentions.0.proj_in"
UP = "unet.up_blocks.1.attentions.0.proj_in"
TEXT = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"
SHAPES = {DOWN: (12, 10), UP: (8, 6, 3, 3), TEXT: (9, 9)}


def made(name, seed, paths=tuple(SHAPES)):
    return Adapter(name, {p: random_lora(SHAPES[p], 3, 2.0, seed + i) for i, p in enumerate(paths)}, family="sd1")


def flat(adapter, paths=SHAPES):
    parts = [delta64(adapter.updates[p]) if p in adapter.updates else torch.zeros(SHAPES[p]).double() for p in paths]
    return torch.cat([part.flatten() for part in parts])


@given(seeds=st.tuples(st.integers(0, 999), st.integers(0, 999)))
def test_against_whole_deltas(seeds):
    a, b = made("a", seeds[0], [DOWN, UP]), made("b", seeds[1] + 2000, [UP, TEXT])
    found = compare(a, b)
    for likeness, paths in ((found.total, SHAPES), (found.blocks["unet.up_blocks.1"], [UP])):
        one, other = flat(a, paths), flat(b, paths)
        assert likeness.norm_a == pytest.approx(float(one.norm()), rel=1e-9)
        assert likeness.norm_b == pytest.approx(float(other.norm()), rel=1e-9)
        assert likeness.cosine == pytest.approx(float(one @ other / one.norm() / other.norm()), abs=1e-9)
        assert likeness.difference == pytest.approx(float((one - other).norm()), rel=1e-6)
    assert found.only_a == (DOWN,) and found.only_b == (TEXT,)
    assert found.blocks.keys() == {"unet.down_blocks.1", "unet.up_blocks.1", "text_encoder"}
    assert found.blocks["text_encoder"].cosine == 0


def test_an_adapter_is_itself_and_its_opposite():
    a = made("a", 1)
    opposite = Adapter("b", {p: random_lora(SHAPES[p], 3, -2.0, 1 + i) for i, p in enumerate(SHAPES)})
    assert compare(a, a).total.cosine == pytest.approx(1) and compare(a, a).total.difference < 1e-6
    assert compare(a, opposite).total.cosine == pytest.approx(-1)


def test_kinds_may_differ():
    a = made("a", 1, [UP])
    whole = update_from({"diff": a.updates[UP].delta(torch.zeros(SHAPES[UP]))})[0]
    assert compare(a, Adapter("b", {UP: whole})).total.cosine == pytest.approx(1)


def test_strength_with_and_without_a_base():
    a = made("a", 1)
    weights = {p: numbers(SHAPES[p], 50 + i) for i, p in enumerate(SHAPES)}
    alone, on_base = strength(a), strength(a, weights)
    assert alone.total.delta == on_base.total.delta == pytest.approx(float(flat(a).norm()), rel=1e-9)
    assert alone.total.ratio is None and alone.blocks["text_encoder"].weight is None
    size = math.sqrt(sum(float(w.double().norm()) ** 2 for w in weights.values()))
    assert on_base.total.ratio == pytest.approx(float(flat(a).norm()) / size, rel=1e-6)
    assert on_base.blocks["text_encoder"].ratio == pytest.approx(
        float(flat(a, [TEXT]).norm() / weights[TEXT].norm()), rel=1e-6
    )
    assert on_base.as_json()["blocks"].keys() == {"unet.down_blocks.1", "unet.up_blocks.1", "text_encoder"}


def test_strength_of_kinds_that_need_the_base():
    scaled = Adapter("a", {DOWN: update_from({"weight": numbers((12,), 1), "on_input": torch.tensor(0)})[0]})
    with pytest.raises(Error, match=r"IA³ update.*--base"):
        strength(scaled)
    weight = numbers((12, 10), 2)
    expected = (scaled.updates[DOWN].delta(weight).norm() / weight.norm()).item()
    assert strength(scaled, {DOWN: weight}).total.ratio == pytest.approx(expected, rel=1e-6)
    with pytest.raises(Error, match="give its own base"):
        strength(made("a", 1), {path: numbers((13, 10), 1) for path in SHAPES})
    with pytest.raises(Error, match="the base has no module"):
        strength(scaled, {UP: weight})


def test_other_families():
    with pytest.raises(Error, match="'a' is for sd1 and 'b' for sd2"):
        compare(made("a", 1), Adapter("b", made("b", 2).updates, family="sd2"))


def test_blocks():
    assert block_of("unet.mid_block.resnets.0.conv1") == "unet.mid_block"
    assert block_of("unet.conv_in") == block_of("unet.time_embedding.linear_1") == "unet"
    assert block_of("text_encoder_2.text_projection") == "text_encoder_2"
