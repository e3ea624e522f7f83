"""A mix on a base that can't be merged into: what merging would give, within rounding, and no trace afterwards."""

import random
from collections import Counter

import psutil
import pytest
import torch
from torch import nn

from sdlora.adapters import Adapter, save_adapter
from sdlora.adapters.updates import DoRA, Full, LoRA, Norm
from sdlora.bases import load_base
from sdlora.errors import Error
from sdlora.mixing import Mixer
from sdlora.mixing.merged_module import MergedModule
from sdlora.mixing.mix import Weights
from sdlora.mixing.mixed_weights import MixedWeights
from sdlora.mixing.placing import place_for
from sdlora.mixing.room import RESERVE_OF_HOST, Room
from sdlora.mixing.unmerged_module import UnmergedModule
from tests.adapters.made import ATTENTION, FEED_FORWARD, TEXT_ATTENTION, numbers, random_adapter, random_lora
from tests.conftest import all_tensors
from tests.mixing.conftest import CONVOLUTIONS
from tests.mixing.quantised import Int8Conv, Int8Linear, int8_mini, quantised
from tests.mixing.test_mixed_weights import CONV1, CONV3, GROUP, LINEAR, adapters_for, weighed
from tests.mixing.test_mixer import assert_equal, interrupted

# of the outputs' largest; fp32's is the issue's, the halves' some units in the last place of a sum of a hundred numbers
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2**-5, torch.float16: 2**-8}


class NoRoom(Room):
    """Of a machine with no memory left."""

    def where(self, size, device):
        return "nowhere"


def outputs(base):
    """What the UNet and the text encoder make of some input, in fp64."""
    size, width = base.unet.config.in_channels, base.unet.config.cross_attention_dim
    latents, context = numbers((1, size, 16, 16), 1).to(base.dtype), numbers((1, 9, width), 2).to(base.dtype)
    tokens = torch.arange(9)[None]
    with torch.inference_mode():
        drawn = base.unet(latents, torch.tensor([500]), context).sample
        read = base.text_encoders[0](tokens).last_hidden_state
    return drawn.double(), read.double()


def assert_close(found, expected, tolerance):
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() <= tolerance * other.abs().max()


def apart(found, others):
    return all((one - other).abs().max() > 1e-3 * other.abs().max() for one, other in zip(found, others, strict=True))


def hooks(base):
    return sum(len(module._forward_hooks) for module in base.modules().values())


def some_mix(base, seed=0):
    everything = f"{ATTENTION}|{FEED_FORWARD}|{TEXT_ATTENTION}|{CONVOLUTIONS}"
    adapters = [
        random_adapter(base, pattern, rank=rank, seed=seed + rank, size=0.1)
        for rank, pattern in ((2, everything), (5, ATTENTION), (3, f"{CONVOLUTIONS}|{TEXT_ATTENTION}"))
    ]
    return weighed(zip(adapters, (0.8, -0.5, 0.3), strict=True))


@pytest.fixture(scope="module")
def dense_mini():
    return int8_mini()


def test_without_memory_for_copies_the_outputs_are_those_of_merging(dtype):
    base = load_base("mini", dtype=dtype)
    mix, own = some_mix(base), all_tensors(base)
    plain, merged, unmerged = outputs(base), MixedWeights(base), MixedWeights(base, NoRoom)
    merged.set(mix)
    expected = outputs(base)
    merged.set([])
    unmerged.set(mix)
    assert_equal(base, own)  # no weight was touched
    assert_close(outputs(base), expected, TOLERANCE[dtype])
    assert apart(expected, plain)
    unmerged.set([])
    assert hooks(base) == 0
    assert all(map(torch.equal, outputs(base), plain))


@pytest.mark.parametrize("path", [LINEAR, CONV1, CONV3])
def test_every_kind_is_unmerged_as_it_is_merged(path, dtype):
    base = load_base("mini", dtype=dtype)
    module, merged, unmerged = base.modules()[path], MixedWeights(base), MixedWeights(base, NoRoom)
    x = numbers((2, 7, 9, module.weight.shape[1]), 5)
    x = (x if module.weight.ndim == 2 else x.movedim(-1, 1).contiguous()).to(dtype)
    plain = module(x).double()
    for adapter in adapters_for(base):
        if path not in adapter.updates:
            continue
        alone = [(Adapter(adapter.name, {path: adapter.updates[path]}), Weights(-0.7, -0.7))]
        merged.set(alone)
        expected = module(x).double()
        merged.set([])
        unmerged.set(alone)
        assert hooks(base) == 1
        assert_close([module(x).double()], [expected], TOLERANCE[dtype])
        assert apart([expected], [plain]), adapter.name
        unmerged.set([])


def test_all_kinds_together(dtype):
    base = load_base("mini", dtype=dtype)
    mix = weighed([(adapter, 0.1 + 0.02 * n) for n, adapter in enumerate(adapters_for(base))])
    merged, unmerged = MixedWeights(base), MixedWeights(base, NoRoom)
    merged.set(mix)
    expected = outputs(base)
    merged.set([])
    unmerged.set(mix)
    assert hooks(base) == 3  # the norms are merged in any case
    assert_close(outputs(base), expected, TOLERANCE[dtype])


def test_a_quantised_base_is_merged_where_it_can_be(dense_mini):
    base, dense = dense_mini
    mix, own, plain = some_mix(dense), all_tensors(base), outputs(base)
    mixed, merged = MixedWeights.of(base), MixedWeights.of(dense)
    mixed.set(mix)
    merged.set(mix)
    try:
        assert_close(outputs(base), outputs(dense), TOLERANCE[torch.float32])
        assert apart(outputs(base), plain)
        hooked = Counter(type(module).__name__ for module in base.modules().values() if module._forward_hooks)
        assert hooked.keys() == {"Int8Linear"}
        changed = {key for key, tensor in all_tensors(base).items() if not torch.equal(tensor, own[key])}
        assert any("conv1" in key for key in changed) and any("text_encoder" in key for key in changed)
        assert not any("attn" in key for key in changed if key.startswith("unet"))
    finally:
        mixed.set([])
        merged.set([])
    assert hooks(base) == 0
    assert_equal(base, own)
    assert all(map(torch.equal, outputs(base), plain))


def test_what_depends_on_the_weight_sees_the_dequantised_one(dense_mini):
    base, dense = dense_mini
    shape = tuple(dense.modules()[LINEAR].weight.shape)
    lora = random_lora(shape, 2, 1.0, 1, 0.3)
    dora = Adapter("dora", {LINEAR: DoRA(lora, 1 + 0.5 * numbers((shape[0], 1), 3))})
    shift = Adapter("full", {LINEAR: Full(numbers(shape, 4, 0.1), numbers(shape[:1], 5))})
    mixed, merged = MixedWeights.of(base), MixedWeights.of(dense)
    x = numbers((3, shape[1]), 6)
    assert torch.allclose(mixed.pristine[LINEAR], dense.modules()[LINEAR].weight, atol=1e-6)
    try:
        for mix in ([dora], [shift], [dora, shift], [shift, dora, Adapter("lora", {LINEAR: lora})]):
            mixed.set([(adapter, Weights(0.6)) for adapter in mix])
            merged.set([(adapter, Weights(0.6)) for adapter in mix])
            found, expected = base.modules()[LINEAR](x), dense.modules()[LINEAR](x)
            assert_close([found], [expected], TOLERANCE[torch.float32])
            # asked while something is mixed in
            assert torch.allclose(mixed.pristine[LINEAR], merged.pristine[LINEAR], atol=1e-6)
    finally:
        mixed.set([])
        merged.set([])


def test_any_history_ends_in_the_same_bits(dense_mini):
    base, dense = dense_mini
    chance, mixed = random.Random(3), MixedWeights.of(base)
    mix, plain = some_mix(dense), outputs(base)
    mixed.set(mix)
    expected = outputs(base)
    try:
        for _ in range(8):
            used = chance.sample(mix, chance.randint(0, 3))
            mixed.set([(adapter, Weights(chance.uniform(-1, 1), 1.0)) for adapter, _ in used])
        mixed.set(chance.sample(mix, 3))
        assert all(map(torch.equal, outputs(base), expected))
    finally:
        mixed.set([])
    assert hooks(base) == 0
    assert all(map(torch.equal, outputs(base), plain))


@pytest.mark.parametrize("line", range(1, 18))
def test_an_interruption_anywhere_is_forgotten_by_the_next_mix(line, dense_mini):
    base, dense = dense_mini
    module, mixed = base.modules()[LINEAR], MixedWeights.of(base)
    shape = tuple(dense.modules()[LINEAR].weight.shape)
    one, other = ([(Adapter(str(n), {LINEAR: random_lora(shape, 2, 1.0, n)}), Weights())] for n in (1, 2))
    x = numbers((3, shape[1]), 6)
    plain = module(x)
    mixed.set(one)
    expected = module(x)
    interrupted(lambda: mixed.set(other), line)
    mixed.set(one)
    assert torch.equal(module(x), expected)
    interrupted(lambda: mixed.set(other), line)
    mixed.set([])
    assert torch.equal(module(x), plain)


def test_a_base_that_is_cast_or_fed_otherwise_computes_in_that_dtype(dense_mini):
    base, dense = dense_mini
    module, mixed = base.modules()[LINEAR], MixedWeights.of(base)
    shape = tuple(dense.modules()[LINEAR].weight.shape)
    x = numbers((3, shape[1]), 6)
    module.bias, kept = None, module.bias
    try:
        mixed.set([(Adapter("a", {LINEAR: random_lora(shape, 2, 1.0, 1)}), Weights())])
        first = module(x)
        assert module(x.bfloat16()).dtype == torch.bfloat16
        assert_close([module(x.bfloat16()).float()], [first], TOLERANCE[torch.bfloat16])
        assert torch.equal(module(x), first)  # what bf16 rounded is not used again
    finally:
        mixed.set([])
        module.bias = kept


@pytest.mark.parametrize(
    ("path", "update", "words"),
    [
        (
            LINEAR,
            LoRA(torch.zeros(1, 7), torch.zeros(9, 1), 1.0),
            r"is for a weight \(9, 7\), this base's is \(64, 64\)",
        ),
        (GROUP, Norm(torch.zeros(7)), r"is for a weight \(7,\), this base's is"),
        (LINEAR.replace("to_out.0", "to_q"), Full(torch.zeros(64, 64), torch.zeros(64)), "changes the bias of .*to_q"),
        (LINEAR + ".nobody", LoRA(torch.zeros(1, 7), torch.zeros(9, 1), 1.0), "this one has no module"),
    ],
)
def test_what_does_not_fit_is_refused_as_on_any_base(path, update, words, dense_mini):
    with pytest.raises(Error, match=words):
        MixedWeights.of(dense_mini[0]).set([(Adapter("other", {path: update}), Weights())])
    assert hooks(dense_mini[0]) == 0


def test_a_convolution_that_does_not_tell_its_weight():
    base, dense = load_base("mini"), load_base("mini")
    quantised(base.unet, nn.Conv2d, Int8Conv)
    modules, mixed = base.modules(), MixedWeights.of(base)
    shape = tuple(dense.modules()[CONV3].weight.shape)
    lora = random_lora(shape, 2, 1.0, 1, 0.3)
    x = numbers((2, shape[1], 9, 9), 6)
    plain = modules[CONV3](x)
    mixed.set([(Adapter("lora", {CONV3: lora}), Weights(0.5))])
    expected = plain + nn.functional.conv2d(x, 0.5 * lora.delta(torch.zeros(shape)), padding=1)
    assert_close([modules[CONV3](x)], [expected], TOLERANCE[torch.float32])
    with pytest.raises(Error, match=f"{CONV3} is a Int8Conv that does not tell its weight"):
        mixed.pristine[CONV3]
    dora = Adapter("dora", {CONV3: DoRA(lora, torch.ones(shape[0], 1, 1, 1))})
    with pytest.raises(Error, match=r"'dora' \(DoRA\) needs the weight of .*conv1, .*Int8Conv"):
        mixed.set([(dora, Weights())])
    assert_close([modules[CONV3](x)], [expected], TOLERANCE[torch.float32])  # the mix before it stays


def test_what_neither_multiplies_nor_can_be_written_to_is_refused():
    base = load_base("mini")
    norm = base.modules()[GROUP]
    norm.weight.data = norm.weight.data.to(torch.float8_e4m3fn)
    adapter = Adapter("norms", {GROUP: Norm(torch.zeros(norm.weight.shape))})
    with pytest.raises(Error, match=f"changes {GROUP}, .* GroupNorm"):
        MixedWeights.of(base).set([(adapter, Weights())])


@pytest.mark.parametrize(
    ("module", "place"),
    [
        (nn.Linear(4, 3), MergedModule),
        (nn.Linear(4, 3).bfloat16(), MergedModule),
        (nn.Conv2d(4, 3, 3).half(), MergedModule),
        (nn.LayerNorm(4), MergedModule),
        (nn.Linear(4, 3).to(torch.float8_e4m3fn), UnmergedModule),
        (nn.Linear(4, 3, device="meta"), UnmergedModule),
        (nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), UnmergedModule),
        (type("Faster", (nn.Linear,), {})(4, 3), UnmergedModule),
        (Int8Linear(nn.Linear(4, 3)), UnmergedModule),
    ],
    ids=repr,
)
def test_merged_is_what_is_torchs_own_and_plain(module, place):
    assert type(place_for(module, Room())) is place


def test_what_has_no_room_for_a_copy_is_not_merged():
    room, cpu = Room(), torch.device("cpu")
    linear = nn.utils.skip_init(nn.Linear, 8192, 8192)  # 256 MiB, none of which is ever touched
    assert room.take(psutil.virtual_memory().available - RESERVE_OF_HOST - (128 << 20), cpu) == "beside"
    assert type(place_for(linear, room)) is UnmergedModule
    assert type(place_for(nn.Linear(4, 3), room)) is MergedModule
    assert type(place_for(linear, Room())) is MergedModule


def test_the_mixer_on_a_quantised_base(dense_mini, tmp_path):
    """Pictures, equalised weights and an export as on the plain base with the same weights."""
    found = []
    for number, base in enumerate(dense_mini):
        save_adapter(random_adapter(dense_mini[1], ATTENTION, rank=2, seed=4), tmp_path / "a.safetensors", dtype="fp32")
        mixer = Mixer(base, tmp_path)
        mixer.set({"a": 1.0}, equalise=True)
        (picture,) = mixer.generate("octopus", seed=1, steps=2, size=64)
        report = mixer.export(tmp_path / f"{number}.safetensors", rank=1)
        found.append((mixer.adapters[0][1].unet, report.relative, torch.tensor(list(picture.image.tobytes())).float()))
        mixer.clear()
    (factor, relative, picture), (of_dense, relative_of_dense, picture_of_dense) = found
    assert factor == pytest.approx(of_dense, rel=1e-3) and factor != 1
    assert relative == pytest.approx(relative_of_dense, rel=1e-3)
    assert (picture - picture_of_dense).abs().max() <= 2


def test_torchaos_own_layers():
    torchao = pytest.importorskip("torchao.quantization")
    base = load_base("mini")
    torchao.quantize_(base.unet, torchao.Int8WeightOnlyConfig())
    dense, mixed = load_base("mini"), MixedWeights.of(base)
    for path, weight in mixed.pristine.items():
        dense.modules()[path].weight.data.copy_(weight)
    mix, plain = some_mix(dense), outputs(base)
    assert_close(plain, outputs(dense), TOLERANCE[torch.float32])
    mixed.set(mix)
    MixedWeights.of(dense).set(mix)
    assert_close(outputs(base), outputs(dense), TOLERANCE[torch.float32])
    mixed.set([])
    assert all(map(torch.equal, outputs(base), plain))
