"""Merging: the merged file adds the weighted sum of all deltas."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdlora.adapters import Adapter, LoRA, load_adapter, save_adapter
from sdlora.adapters.algebra import merge
from sdlora.adapters.algebra.sparse import dare, ties
from sdlora.adapters.updates import update_from
from sdlora.errors import Error
from tests.adapters.algebra.summed import delta64, relative, sum64
from tests.adapters.made import numbers, random_lora

Q = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
K = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_k"
CONV = "unet.mid_block.resnets.0.conv1"
NORM = "unet.mid_block.resnets.0.norm1"
SHAPES = {Q: (24, 20), K: (24, 16), CONV: (12, 10, 3, 3)}


def made(name, seed, paths=(Q, K, CONV), rank=3, alpha=2.0, size=1e-2, **facts):
    updates = {path: random_lora(SHAPES[path], rank, alpha, seed + i, size) for i, path in enumerate(paths)}
    return Adapter(name, updates, family="sd1", **facts)


def loha(shape, seed, rank=2, alpha=1.0):
    out, inputs = shape[0], torch.Size(shape[1:]).numel()
    sides = {"a": (out, rank), "b": (rank, inputs)}
    parts = {f"hada_w{n}_{s}": numbers(sides[s], 10 * seed + i) for i, (n, s) in enumerate(["1a", "1b", "2a", "2b"])}
    return update_from(parts | {"alpha": torch.tensor(alpha)})[0]


def dora(lora, magnitude):
    return update_from(lora.tensors() | {"dora_scale": magnitude})[0]


@given(
    sides=st.tuples(st.integers(2, 40), st.integers(2, 40)),
    made_of=st.lists(
        st.tuples(
            st.integers(1, 8),
            st.floats(0.01, 64),
            st.floats(-3, 3).filter(lambda w: abs(w) > 1e-6),
            st.integers(0, 10_000),
        ),
        min_size=1,
        max_size=5,
    ),
    size=st.sampled_from([1e-6, 1e-3, 1.0]),
    conv=st.booleans(),
)
def test_concatenation_is_the_exact_sum(sides, made_of, size, conv):
    shape = (*sides, 3, 3) if conv else sides
    adapters = [Adapter(str(s), {Q: random_lora(shape, r, a, s, size)}) for r, a, _, s in made_of]
    weights = [w for *_, w, _ in made_of]
    merged, report = merge(adapters, weights)
    update, exact = merged.updates[Q], sum64(adapters, weights, Q)
    assert (update.rank, update.shape) == (sum(r for r, *_ in made_of), shape)
    # against the terms' size: weights may cancel, and then nothing that rounds can be close to the rest
    terms = sum(abs(w) * delta64(a.updates[Q]).norm() for a, w in zip(adapters, weights, strict=True))
    assert (delta64(update) - exact).norm() <= 2e-7 * terms
    assert report.modules[Q].error <= 2e-7 * terms
    assert report.modules[Q].norm == pytest.approx(float(exact.norm()), rel=1e-6, abs=1e-7 * float(terms))


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("weight", [1e-4, 1.0, 1e4])
def test_the_scale_survives_every_file(dtype, weight, tmp_path):
    """Factors with the scale folded in stay far from fp16's smallest and largest numbers."""
    adapters = [made("a", 1, alpha=0.05), made("b", 50, rank=5, alpha=40.0)]
    weights = [0.7 * weight, -0.2 * weight]
    merged, _ = merge(adapters, weights)
    file = save_adapter(merged, tmp_path / "merged.safetensors", dtype=dtype)
    found = load_adapter(file)
    for path in SHAPES:
        allowed = {"fp32": 2e-7, "fp16": 1e-3, "bf16": 8e-3}[dtype]
        assert relative(delta64(found.updates[path]), sum64(adapters, weights, path)) < allowed


def test_every_module_of_every_adapter_is_there():
    merged, report = merge([made("a", 1, [Q]), made("b", 2, [K]), made("c", 3, [CONV])], [1.0, 0.5, 0.0])
    assert merged.updates.keys() == report.modules.keys() == {Q, K}
    assert (merged.name, merged.family) == ("a+b", "sd1")
    assert merged.updates[K].rank == 3


def test_smaller_is_the_nearest_of_that_rank():
    adapters, weights = [made("a", 1, rank=6), made("b", 9, rank=6)], [1.0, -0.6]
    for wish in ({"rank": 4}, {"keep": 0.9}):
        merged, report = merge(adapters, weights, **wish)
        errors, norms = 0.0, 0.0
        for path, update in merged.updates.items():
            exact = sum64(adapters, weights, path)
            values = torch.linalg.svdvals(exact)
            best = values[update.rank :].norm()
            assert (delta64(update) - exact).norm() == pytest.approx(float(best), rel=1e-4)
            assert report.modules[path].relative == pytest.approx(float(best / values.norm()), rel=1e-4)
            assert report.modules[path].rank == update.rank
            errors, norms = errors + best**2, norms + values.norm() ** 2
            if "keep" in wish:
                assert values[: update.rank].norm() ** 2 >= 0.9 * values.norm() ** 2
                assert values[: update.rank - 1].norm() ** 2 < 0.9 * values.norm() ** 2
        assert report.relative == pytest.approx(float(errors / norms) ** 0.5, rel=1e-4)
        assert "rank" not in wish or {update.rank for update in merged.updates.values()} == {4}


def test_a_linear_layer_and_its_one_by_one_convolution_are_one():
    linear, conv = random_lora((8, 6), 2, 1.0, 1), random_lora((8, 6, 1, 1), 3, 1.0, 2)
    merged, _ = merge([Adapter("a", {Q: linear}), Adapter("b", {Q: conv})], [1.0, 1.0])
    assert relative(delta64(merged.updates[Q]), delta64(linear) + delta64(conv)) < 1e-6


def test_mixed_kinds_are_summed_as_deltas():
    a = Adapter("a", {path: random_lora(SHAPES[path], 2, 1.0, 3) for path in (Q, CONV)}, family="sd1")
    b = Adapter("b", {path: loha(SHAPES[path], 7) for path in (Q, CONV)}, family="sd1")
    for path in (Q, CONV):
        weight = torch.zeros(SHAPES[path])
        exact = 0.8 * a.updates[path].delta(weight) - 0.3 * b.updates[path].delta(weight)
        whole, report = merge([a, b], [0.8, -0.3])
        assert whole.updates[path].kind == "full"
        assert whole.updates[path].tensors()["diff"].shape == weight.shape
        assert relative(whole.updates[path].delta(weight), exact) < 1e-6 and report.relative < 1e-6
        small, report = merge([a, b], [0.8, -0.3], keep=0.95)
        assert isinstance(small.updates[path], LoRA)
        error = relative(small.updates[path].delta(weight), exact)
        assert error == pytest.approx(report.modules[path].relative, rel=1e-3)
        assert error <= 0.05**0.5


def test_tucker_is_low_rank():
    down, mid, up = numbers((3, 10, 1, 1), 1), numbers((3, 3, 3, 3), 2), numbers((12, 3, 1, 1), 3)
    parts = {"lora_down.weight": down, "lora_mid.weight": mid, "lora_up.weight": up, "alpha": torch.tensor(2.0)}
    tucker, lora = update_from(parts)[0], random_lora(SHAPES[CONV], 2, 1.0, 5)
    merged, _ = merge([Adapter("a", {CONV: tucker}), Adapter("b", {CONV: lora})], [0.5, 1.0])
    weight = torch.zeros(SHAPES[CONV])
    assert merged.updates[CONV].rank == 5
    assert relative(merged.updates[CONV].delta(weight), 0.5 * tucker.delta(weight) + lora.delta(weight)) < 1e-6


def test_norms_and_biases_are_summed():
    norm = [update_from({"w_norm": numbers((8,), s), "b_norm": numbers((8,), s + 1)})[0] for s in (1, 3)]
    full = update_from({"diff": numbers((24, 20), 5), "diff_b": numbers((24,), 6)})[0]
    lora = random_lora((24, 20), 2, 1.0, 7)
    a, b = Adapter("a", {NORM: norm[0], Q: full}), Adapter("b", {NORM: norm[1], Q: lora})
    merged, _ = merge([a, b], [0.5, -2.0], rank=2)
    found = merged.updates[NORM]
    assert found.kind == "norm"
    assert torch.allclose(found.delta(torch.zeros(8)), 0.5 * norm[0].diff - 2 * norm[1].diff)
    assert torch.allclose(found.bias_delta(torch.zeros(8)), 0.5 * norm[0].bias - 2 * norm[1].bias)
    weight = torch.zeros(24, 20)
    assert relative(merged.updates[Q].delta(weight), 0.5 * full.delta(weight) - 2 * lora.delta(weight)) < 1e-6
    assert torch.allclose(merged.updates[Q].bias_delta(torch.zeros(24)), 0.5 * full.bias)


def test_kinds_that_need_the_base_ask_for_it():
    weight, lora = numbers((24, 20), 1), random_lora((24, 20), 2, 1.0, 2)
    turned = dora(lora, weight.norm(dim=1, keepdim=True) * 1.1)
    adapters = [Adapter("a", {Q: turned}), Adapter("b", {Q: lora})]
    with pytest.raises(Error, match=r"to_q is a DoRA update.*base=…, --base"):
        merge(adapters, [1.0, 1.0])
    merged, _ = merge(adapters, [1.0, 0.5], base={Q: weight})
    assert relative(merged.updates[Q].delta(weight), turned.delta(weight) + 0.5 * lora.delta(weight)) < 1e-6


def test_tokens_and_metadata_are_carried():
    vectors = {"<s1>": numbers((2, 768), 1)}
    said = {"ss_v2": "False", "modelspec.trigger_phrase": "clay style", "ss_seed": "1"}
    a = made("a", 1, tokens=vectors, metadata=said)
    b = made(
        "b", 2, tokens={"<s1>": numbers((2, 768), 2), "<s2>": numbers((1, 768), 3)}, metadata=said | {"ss_seed": "2"}
    )
    merged, report = merge([a, b], [1.0, 1.0])
    assert merged.tokens.keys() == {"<s1>", "<s2>"} and torch.equal(merged.tokens["<s1>"], vectors["<s1>"])
    assert len(report.notes) == 1 and "<s1> of 'b'" in report.notes[0]
    assert merged.metadata["ss_v2"] == "False" and "ss_seed" not in merged.metadata
    assert merged.metadata["modelspec.merged_from"] == "a, b"
    assert (merged.trigger, merged.metadata["ss_network_dim"]) == ("clay style", "6")


def test_tokens_of_both_text_encoders_are_carried():
    first, second = {"<s>": numbers((1, 768), 1)}, {"<s>": numbers((1, 1280), 2), "<t>": numbers((1, 1280), 3)}
    a, b = made("a", 1, tokens=first), made("b", 2, tokens=first)
    a.tokens_2 |= second
    b.tokens_2 |= {"<s>": numbers((1, 1280), 4)}
    merged, report = merge([a, b], [1.0, 1.0])
    assert merged.tokens.keys() == {"<s>"} and merged.tokens_2.keys() == {"<s>", "<t>"}
    assert torch.equal(merged.tokens_2["<s>"], second["<s>"]) and "<s> of 'b'" in report.notes[0]


def test_ties_by_hand():
    """Yadav et al., figure 1: trim, elect, and the mean of those that agree."""
    a, b = torch.tensor([[3.0, -2.0, 0.1, 5.0]]), torch.tensor([[-1.0, -4.0, 0.2, 0.3]])
    assert torch.equal(ties([a, b], [1.0, 1.0], 1.0), torch.tensor([[3.0, -3.0, 0.15, 2.65]]).to(a))
    assert torch.equal(ties([a, b], [1.0, 1.0], 0.5), torch.tensor([[3.0, -4.0, 0.0, 5.0]]))
    assert torch.equal(ties([a, b], [1.0, -2.0], 1.0), torch.tensor([[2.5, 8.0, -0.4, 5.0]]))


def test_dare_keeps_its_share_and_its_sum():
    delta = torch.ones(200, 200)
    found = dare([delta, delta], [1.0, 0.5], 0.25, 0, Q)
    assert set(found.unique().tolist()) == {0.0, 2.0, 4.0, 6.0}
    assert float(found.mean()) == pytest.approx(1.5, abs=0.05)
    assert torch.equal(found, dare([delta, delta], [1.0, 0.5], 0.25, 0, Q))
    for seed, path in ((1, Q), (0, K)):
        assert not torch.equal(found, dare([delta, delta], [1.0, 0.5], 0.25, seed, path))


@pytest.mark.parametrize("method", ["ties", "dare"])
def test_sparse_methods_work_on_true_deltas(method):
    """Whatever the factors are called: the same deltas from other factors give the same merge."""
    adapters = [made("a", 1), made("b", 9)]
    other = {p: LoRA(u.down * 4, u.up / 8, u.alpha * 2) for p, u in adapters[0].updates.items()}
    options = {"method": method, "density": 0.4, "seed": 3}
    one, _ = merge(adapters, [1.0, 0.7], **options)
    two, report = merge([Adapter("other", other, family="sd1"), adapters[1]], [1.0, 0.7], **options)
    for path in SHAPES:
        assert one.updates[path].kind == "full"
        assert torch.equal(one.updates[path].diff, two.updates[path].diff)
    assert report.relative < 1e-6
    small, report = merge(adapters, [1.0, 0.7], rank=5, **options)
    assert {update.rank for update in small.updates.values()} == {5} and 0 < report.relative < 1
    dense, _ = merge(adapters, [1.0, 0.7], method="dare", density=1.0)
    assert relative(dense.updates[Q].diff, sum64(adapters, [1.0, 0.7], Q)) < 1e-6


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"weights": [1.0]}, "give each adapter its weight"),
        ({"weights": [1.0, float("nan")]}, "give a finite number"),
        ({"weights": [0.0, 0.0]}, "nothing to add"),
        ({"method": "linear"}, "use concat, ties, dare"),
        ({"rank": 0}, "give 1 or more"),
        ({"keep": 1.5}, "share of the energy"),
        ({"density": 0.0}, "share of values that stay"),
    ],
)
def test_mistakes_are_sentences(change, sentence):
    options = {"weights": [1.0, 1.0]} | change
    with pytest.raises(Error, match=sentence):
        merge([made("a", 1), made("b", 2)], **options)


def test_adapters_that_do_not_go_together():
    with pytest.raises(Error, match="'a' is for sd1 and 'b' is for sd2"):
        merge([made("a", 1), Adapter("b", made("b", 2).updates, family="sd2")], [1.0, 1.0])
    with pytest.raises(Error, match="to_q has different shapes"):
        merge([made("a", 1), Adapter("b", {Q: random_lora((24, 21), 2, 1.0, 2)})], [1.0, 1.0])
