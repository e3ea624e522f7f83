"""Every kind of update on a base: exact, biases and norm layers too, and gone to the bit when it is taken off."""

import pytest
import torch
from torch import nn

from sdlora.adapters import Adapter
from sdlora.adapters.algebra import mixed_bias, mixed_weight
from sdlora.adapters.updates import BOFT, IA3, OFT, DoRA, Full, GLoRA, InputOFT, LoHa, LoKr, LoRA, Norm, Tucker
from sdlora.adapters.updates.loha import Half
from sdlora.adapters.updates.lokr import Factor
from sdlora.bases import load_base
from sdlora.errors import Error
from sdlora.mixing.mix import Weights
from sdlora.mixing.mixed_weights import MixedWeights
from tests.adapters.made import numbers, random_lora
from tests.conftest import all_tensors
from tests.mixing.test_mixer import assert_equal, interrupted

BLOCK = "unet.down_blocks.0"
LINEAR, CONV1, CONV3 = (
    f"{BLOCK}.{name}"
    for name in ("attentions.0.transformer_blocks.0.attn1.to_out.0", "attentions.0.proj_in", "resnets.0.conv1")
)
GROUP, LAYER = f"{BLOCK}.resnets.0.norm1", "text_encoder.text_model.final_layer_norm"
PATHS = (LINEAR, CONV1, CONV3, GROUP, LAYER)
WITHOUT_BIAS = f"{BLOCK}.attentions.0.transformer_blocks.0.attn1.to_q"


def kinds_for(weight, seed):
    """Every kind for a linear layer or a convolution of this shape."""
    out, inputs, *kernel = weight.shape
    columns = weight[0].numel()
    lora = random_lora(tuple(weight.shape), 2, 1.0, seed, 0.1)
    halves = [Half(numbers((out, 2), seed + n, 0.3), numbers((2, columns), seed + n + 9, 0.3)) for n in (0, 1)]
    side = numbers((out // 2, inputs // 2, *kernel), seed, 0.1)
    yield lora
    yield DoRA(lora, 1 + 0.1 * numbers((out, 1), seed))
    yield LoHa(halves[0], halves[1], 2.0)
    yield LoKr(Factor(numbers((2, 2), seed)), Factor(side))
    yield IA3(numbers((inputs,), seed, 0.1), on_input=True)
    yield GLoRA(numbers((inputs, 2), seed, 0.1), numbers((2, inputs), seed, 0.1), lora)
    yield OFT(numbers((out // 4, 4, 4), seed, 0.1), numbers((out, 1), seed), 0.1)
    yield BOFT(numbers((2, out // 4, 4, 4), seed, 0.1))
    yield InputOFT(numbers((columns // 4, 6), seed, 0.1))
    yield Full(numbers(tuple(weight.shape), seed, 0.1), numbers((out,), seed))
    if len(kernel) and kernel != [1, 1]:
        core = numbers((2, 2, *kernel), seed, 0.2)
        yield Tucker(numbers((2, inputs, 1, 1), seed), core, numbers((out, 2, 1, 1), seed), 1.0)


def adapters_for(base):
    """One adapter a kind: on a linear layer, a 1 × 1 and a 3 × 3 convolution; and one on norm layers."""
    modules, made = base.modules(), {}
    for index, path in enumerate((LINEAR, CONV1, CONV3)):
        for update in kinds_for(modules[path].weight, 100 * index):
            made.setdefault(type(update).__name__, {})[path] = update
    made["Norm"] = {
        path: Norm(numbers(tuple(modules[path].weight.shape), 1, 0.3), numbers(tuple(modules[path].bias.shape), 2, 0.3))
        for path in (GROUP, LAYER)
    }
    return [Adapter(name, updates, family="sd1") for name, updates in made.items()]


def weighed(mix):
    return [(adapter, Weights(weight, weight)) for adapter, weight in mix]


def test_the_modules_are_of_the_sorts_that_they_stand_for(mini):
    found = [mini.modules()[path] for path in PATHS]
    assert [type(module) for module in found] == [nn.Linear, nn.Conv2d, nn.Conv2d, nn.GroupNorm, nn.LayerNorm]
    assert found[1].kernel_size == (1, 1) and found[2].kernel_size == (3, 3)
    assert mini.modules()[WITHOUT_BIAS].bias is None


def test_each_kind_alone_is_exact_and_gone_again(dtype):
    base = load_base("mini", dtype=dtype)
    own, merged = all_tensors(base), MixedWeights.of(base)
    before = {path: (m.weight.clone(), m.bias.clone()) for path, m in base.modules().items() if path in PATHS}
    adapters = adapters_for(base)
    assert len(adapters) == 12
    for adapter in adapters:
        merged.set(weighed([(adapter, -0.7)]))
        for path, (weight, bias) in before.items():
            terms = [(-0.7, adapter.updates[path])] if path in adapter.updates else []
            module = base.modules()[path]
            changed = not torch.equal(module.weight, weight)
            assert changed == bool(terms), (adapter.name, path)
            assert torch.equal(module.weight, mixed_weight(weight, terms) if terms else weight), (adapter.name, path)
            assert torch.equal(module.bias, mixed_bias(bias, terms) if terms else bias), (adapter.name, path)
            assert torch.equal(module.bias, bias) != (adapter.name in ("Full", "Norm") and bool(terms))
        merged.set([])
        assert_equal(base, own)


def test_all_kinds_together_are_the_sum_of_their_deltas_at_the_pristine_weight(mini, mini_values):
    """In fp64; kinds that need W see the pristine one, whatever else is in the mix."""
    adapters = adapters_for(mini)
    mix = [(adapter, 0.1 * (index + 1)) for index, adapter in enumerate(adapters)]
    modules = mini.modules()
    exact = {}
    for path in PATHS:
        weight, bias = modules[path].weight.detach(), modules[path].bias.detach()
        terms = [(w, adapter.updates[path]) for adapter, w in mix if path in adapter.updates]
        deltas = [w * update.delta(weight).double() for w, update in terms]
        added = [w * update.bias_delta(bias).double() for w, update in terms if update.changes_bias]
        size = sum((delta.norm() for delta in deltas), weight.double().norm())
        exact[path] = (weight.double() + sum(deltas), size, bias.double() + sum(added))
    merged = MixedWeights.of(mini)
    try:
        merged.set(weighed(mix))
        for path, (weight, size, bias) in exact.items():
            assert (modules[path].weight.double() - weight).norm() <= 1e-6 * size
            assert torch.allclose(modules[path].bias.double(), bias, rtol=1e-5, atol=1e-6)
        together = all_tensors(mini)
        merged.set(weighed(mix[3:]))
        merged.set(weighed(list(reversed(mix))))
        assert_equal(mini, together)
    finally:
        merged.set([])
    assert_equal(mini, mini_values)


@pytest.mark.parametrize("line", range(1, 24))
def test_an_interruption_anywhere_leaves_biases_to_be_made_anew(line, mini):
    module, merged = mini.modules()[LINEAR], MixedWeights.of(mini)
    own = module.weight.clone(), module.bias.clone()
    full = [(Adapter("full", {LINEAR: Full(numbers(module.weight.shape, 1), numbers(module.bias.shape, 2))}), 0.5)]
    plain = [(Adapter("plain", {LINEAR: random_lora(tuple(module.weight.shape), 2, 1.0, 3)}), 0.5)]
    merged.set(weighed(full))
    expected = module.weight.clone(), module.bias.clone()
    for others, mix in ((plain, full), (full, plain)):
        merged.set(weighed(mix))
        interrupted(lambda others=others: merged.set(weighed(others)), line)
        merged.set(weighed(full))
        assert torch.equal(module.weight, expected[0]) and torch.equal(module.bias, expected[1])
        merged.set(weighed(mix))
        interrupted(lambda others=others: merged.set(weighed(others)), line)
        merged.set(weighed(plain))
        assert torch.equal(module.bias, own[1])
        merged.set(weighed(mix))
        interrupted(lambda others=others: merged.set(weighed(others)), line)
        merged.set([])
        assert torch.equal(module.weight, own[0]) and torch.equal(module.bias, own[1])


def test_a_bias_of_minus_zero_stays_minus_zero(mini):
    module, merged = mini.modules()[LINEAR], MixedWeights.of(mini)
    own = module.bias.detach().clone()
    try:
        module.bias.data[0] = -0.0
        full = Full(torch.zeros_like(module.weight), torch.ones_like(module.bias))
        merged.set([(Adapter("full", {LINEAR: full}), Weights())])
        merged.set([(Adapter("plain", {LINEAR: random_lora(tuple(module.weight.shape), 2, 1.0, 3)}), Weights())])
        assert module.bias[0].signbit()
    finally:
        merged.set([])
        module.bias.data.copy_(own)


@pytest.mark.parametrize(
    ("path", "update", "words"),
    [
        (WITHOUT_BIAS, Full(torch.zeros(32, 32), torch.zeros(32)), "changes the bias of .*to_q, which has none"),
        (GROUP, Norm(torch.zeros(7)), r"is for a weight \(7,\), this base's is"),
        (LINEAR, OFT(torch.zeros(3, 3, 3)), "is for a weight with 9 outputs, this base's is"),
        (LINEAR, IA3(torch.zeros(7), on_input=True), "is for a weight with 7 inputs"),
        (LINEAR, LoRA(torch.zeros(1, 7), torch.zeros(9, 1), 1.0), r"is for a weight \(9, 7\)"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_changes(path, update, words, mini, mini_values):
    if path == WITHOUT_BIAS:
        shape = mini.modules()[path].weight.shape
        update = Full(torch.zeros(shape), torch.zeros(shape[0]))
    good = Adapter("good", {LINEAR: random_lora(tuple(mini.modules()[LINEAR].weight.shape), 1, 1.0, 0)})
    with pytest.raises(Error, match=words):
        MixedWeights.of(mini).set([(good, Weights()), (Adapter("other", {path: update}), Weights())])
    assert_equal(mini, mini_values)


def test_nothing_is_written_when_nothing_changes(mini):
    modules, merged = mini.modules(), MixedWeights.of(mini)
    shape = tuple(modules[LINEAR].weight.shape)
    one, other = (Adapter(name, {LINEAR: random_lora(shape, 2, 1.0, seed)}) for seed, name in enumerate(("a", "b")))
    try:
        merged.set(weighed([(one, 0.5), (other, 0.3)]))
        written = modules[LINEAR].weight._version
        merged.set(weighed([(one, 0.5), (other, 0.3)]))
        merged.set(weighed([(other, 0.3), (one, 0.5)]))
        assert modules[LINEAR].weight._version == written
        merged.set(weighed([(other, 0.3), (one, 0.4)]))
        assert modules[LINEAR].weight._version > written
    finally:
        merged.set([])


def test_blocks_that_the_caller_changes_afterwards_are_seen(mini):
    module, merged = mini.modules()[LINEAR], MixedWeights.of(mini)
    own, blocks = module.weight.clone(), {BLOCK: 1.0}
    adapter = Adapter("a", {LINEAR: random_lora(tuple(own.shape), 2, 1.0, 3)})
    try:
        merged.set([(adapter, Weights(blocks=blocks))])
        blocks[BLOCK] = 0.0
        merged.set([(adapter, Weights(blocks=blocks))])
        assert torch.equal(module.weight, own)
    finally:
        merged.set([])
