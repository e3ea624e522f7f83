"""Random sets, clears and reorderings of six adapters: no trace of what was before, and the sum as exact as can be."""

import random

import pytest
import torch

from sdlora.adapters import load_adapter, save_adapter
from sdlora.bases import load_base
from sdlora.mixing import Mixer
from tests.adapters.made import ATTENTION, FEED_FORWARD, TEXT_ATTENTION, random_adapter
from tests.conftest import all_tensors
from tests.mixing.test_mixer import assert_equal

NUMBERS = [0.0, 0.3, 0.8, 1.0, -0.5, 2.0, 1 / 3]
PREFIXES = ["unet", "unet.mid_block", "unet.up_blocks.1", "unet.up_blocks.1.attentions.0", "text_encoder"]
MID = r"unet\.mid_block\..*\.(conv1|proj_in|attn2\.to_v)"
UP = r"unet\.up_blocks\.1\..*\.attn1\.to_q"
TARGETS = [MID, f"{MID}|{TEXT_ATTENTION}", TEXT_ATTENTION, UP, ATTENTION, FEED_FORWARD]
BITS = {torch.float32: 24, torch.bfloat16: 8, torch.float16: 11}  # of a significand


@pytest.fixture(scope="module")
def six(mini, tmp_path_factory):
    """Six adapters of different targets, ranks, scales and dtypes."""
    folder = tmp_path_factory.mktemp("six")
    for seed, (name, targets) in enumerate(zip("abcdef", TARGETS, strict=True)):
        adapter = random_adapter(mini, targets, rank=seed + 1, alpha=0.5 + seed, seed=seed)
        save_adapter(adapter, folder / f"{name}.safetensors", dtype=("fp32", "fp16", "bf16")[seed % 3])
    return folder


def random_weights(chance):
    if chance.random() < 0.4:
        return chance.choice(NUMBERS)
    blocks = {prefix: chance.choice(NUMBERS) for prefix in chance.sample(PREFIXES, chance.randint(0, 3))}
    weights = {"unet": chance.choice(NUMBERS), "text": chance.choice(NUMBERS), "blocks": blocks}
    return weights | ({"enabled": False} if chance.random() < 0.2 else {})


def random_mix(chance, names="abcdef"):
    return {name: random_weights(chance) for name in chance.sample(names, chance.randint(1, len(names)))}


def reordered(chance, mix):
    return dict(chance.sample(list(mix.items()), len(mix)))


def check_history(six, dtype, operations, seed):
    chance = random.Random(seed)
    base, fresh = load_base("mini", dtype=dtype), load_base("mini", dtype=dtype)
    own, mixer, mix = all_tensors(base), Mixer(base, six), {}
    for _ in range(operations):
        action = chance.random()
        if action < 0.1:
            mix = {}
            mixer.clear()
            assert_equal(base, own)
            continue
        if action < 0.3:
            mix = reordered(chance, mix)
        elif action < 0.6 and mix:  # one slider
            mix = mix | {chance.choice(list(mix)): random_weights(chance)}
        else:
            mix = random_mix(chance)
        mixer.set(mix)
        for network, before in ((fresh.unet, "unet"), (fresh.text_encoders[0], "text_encoder_0")):
            network.load_state_dict({k.removeprefix(f"{before}."): t for k, t in own.items() if k.startswith(before)})
        fresh_again = type(fresh)(**vars(fresh))  # a base that nothing was ever mixed into
        Mixer(fresh_again, six).set(reordered(chance, mix))
        assert_equal(base, all_tensors(fresh_again))
    mixer.clear()
    assert_equal(base, own)


def test_every_mix_has_the_bits_of_a_fresh_base(six, dtype):
    check_history(six, dtype, operations=10, seed=3)


@pytest.mark.slow
def test_five_hundred_operations(six, dtype):
    check_history(six, dtype, operations=500, seed=4)


@pytest.mark.parametrize("seed", [1, 2])
def test_four_adapters_lie_within_half_a_unit_of_the_sum_in_fp64(seed, six, dtype):
    """Per element: half a unit in the last place of the base's dtype, and 2⁻²⁰ of all magnitudes that are summed."""
    chance, base = random.Random(seed), load_base("mini", dtype=dtype)
    before = {path: m.weight.double() for path, m in base.modules().items() if getattr(m, "weight", None) is not None}
    mixer, names = Mixer(base, six), chance.sample("abcdef", 4)
    mixer.set({name: {"unet": chance.uniform(-2, 2), "text": chance.uniform(-2, 2)} for name in names})
    mix = [(load_adapter(six / f"{a.name}.safetensors"), weights) for a, weights in mixer.adapters]
    checked = 0
    for path, weight in before.items():
        exact, size = weight, weight.abs()
        for adapter, weights in mix:
            if path in adapter.updates:
                update = adapter.updates[path]
                up, down = update.up.double().flatten(1), update.down.double().flatten(1)
                scale = (weights.unet if path.startswith("unet.") else weights.text) * update.alpha / update.rank
                exact = exact + scale * (up @ down).reshape(weight.shape)
                size = size + abs(scale) * (up.abs() @ down.abs()).reshape(weight.shape)
                checked += 1
        merged = base.modules()[path].weight.double()
        largest = torch.maximum(exact.abs(), merged.abs())
        half_ulp = 2.0 ** (torch.frexp(largest)[1] - BITS[dtype] - 1)
        if dtype == torch.float16:
            half_ulp = half_ulp.clamp(min=2.0**-25)  # what lies below its narrow range of exponents
        assert ((merged - exact).abs() <= half_ulp + 2.0**-20 * size).all(), path
    assert checked == sum(len(adapter.updates) for adapter, _ in mix)
