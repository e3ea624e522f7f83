"""A mix on a base: the exact sum whatever was before, and the base's own bits when it is gone."""

import random
import shutil
import sys

import pytest
import torch

from sdlora.adapters import Adapter, load_adapter, save_adapter
from sdlora.adapters.algebra import mixed_weight
from sdlora.bases import load_base
from sdlora.bases.base import FAMILIES
from sdlora.bases.geometry import meta_modules
from sdlora.errors import Error
from sdlora.mixing import Mixer
from sdlora.mixing.merged_module import Kept, MergedModule
from sdlora.mixing.mix import Weights
from sdlora.mixing.mixed_weights import MixedWeights
from sdlora.mixing.unmerged_module import UnmergedModule
from tests.adapters.made import ATTENTION, FULL, TEXT_ATTENTION, random_adapter, random_lora
from tests.bases.written import narrow
from tests.conftest import all_tensors

TO_Q = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
WEIGHTS = [0.0, 0.3, 0.8, 1.0, -0.5, 2.0, 1 / 3]


def assert_equal(base, values):
    found = all_tensors(base)
    assert found.keys() == values.keys()
    assert [key for key, tensor in found.items() if not torch.equal(tensor, values[key])] == []


def weights_of(base):
    return {path: module.weight.clone() for path, module in base.modules().items() if hasattr(module, "weight")}


def test_values_are_the_exact_sum_in_place(mixer, library):
    base = mixer.base
    keys, tensors = list(base.unet.state_dict()), {key: t.data_ptr() for key, t in base.unet.state_dict().items()}
    before = weights_of(base)
    mix = {"clay": 0.8, "ink": -0.4, "blob": 1.5}
    mixer.set(mix)
    adapters = {name: load_adapter(library / f"{name}.safetensors") for name in mix}
    changed = set()
    for path, weight in weights_of(base).items():
        exact, size = before[path].double(), before[path].double().abs()
        for name, w in mix.items():
            if path in adapters[name].updates:
                update = adapters[name].updates[path]
                up, down = update.up.double().flatten(1), update.down.double().flatten(1)
                exact = exact + (w * update.alpha / update.rank * (up @ down)).reshape(weight.shape)
                size = size + (abs(w) * update.alpha / update.rank * (up.abs() @ down.abs())).reshape(weight.shape)
                changed.add(path)
        assert ((weight.double() - exact).abs() <= 2**-20 * size).all(), path
        assert torch.equal(weight, before[path]) == (path not in changed), path
    assert list(base.unet.state_dict()) == keys
    assert {key: t.data_ptr() for key, t in base.unet.state_dict().items()} == tensors


def test_clear_brings_the_bases_own_bits_back(mixer, mini_values):
    mixer.set({"clay": 0.8, "ink": 1e4, "blob": -3})
    mixer.clear()
    assert_equal(mixer.base, mini_values)
    assert mixer.adapters == []


def test_any_history_ends_in_the_same_bits(dtype, library):
    """Random sets, clears, refusals and a second mixer, against the same mix on a base just loaded."""
    base, chance = load_base("mini", dtype=dtype), random.Random(7)
    own = all_tensors(base)
    mixers = [Mixer(base, library), Mixer(base, library)]
    for _ in range(2):
        for _ in range(25):
            mixer = chance.choice(mixers)
            action = chance.random()
            if action < 0.15:
                mixer.clear()
            elif action < 0.3:
                with pytest.raises(Error):
                    mixer.set({"clay": 1.0, "nobody": 1.0})
            else:
                names = chance.sample(["clay", "ink", "blob"], chance.randint(1, 3))
                mixer.set({name: chance.choice(WEIGHTS) for name in names})
        mix = {name: chance.choice(WEIGHTS) for name in ("ink", "blob", "clay")}
        chance.choice(mixers).set(mix)
        fresh = load_base("mini", dtype=dtype)
        Mixer(fresh, library).set(dict(reversed(mix.items())))
        assert_equal(base, all_tensors(fresh))
    chance.choice(mixers).clear()
    assert_equal(base, own)


def test_neither_names_nor_order_matter(mixer, library, tmp_path):
    mixer.set({"clay": 0.8, "ink": 0.4, "blob": -0.2})
    expected = all_tensors(mixer.base)
    for old, new in {"clay": "zebra", "ink": "ärger", "blob": "aaa"}.items():
        shutil.copy(library / f"{old}.safetensors", tmp_path / f"{new}.safetensors")
    mixer.set({"aaa": -0.2, "zebra": 0.8, "ärger": 0.4}, library=tmp_path)
    assert_equal(mixer.base, expected)
    mixer.clear()
    mixer.set({str(library / "ink.safetensors"): 0.4, "clay": 0.8, "blob": -0.2})
    assert_equal(mixer.base, expected)


def test_weight_zero_is_absence(mixer, mini_values):
    mixer.set({"clay": 0.0, "blob": -0.0})
    assert_equal(mixer.base, mini_values)
    mixer.set({"ink": 0.7})
    alone = all_tensors(mixer.base)
    mixer.set({"ink": 0.7, "clay": 0})
    assert_equal(mixer.base, alone)


def test_the_same_adapter_twice_counts_twice(mixer, library):
    mixer.set({"clay": 0.25, str(library / "clay.safetensors"): 0.5})
    twice = mixer.base.modules()[TO_Q].weight.clone()
    mixer.set({"clay": 0.75})
    assert torch.allclose(twice, mixer.base.modules()[TO_Q].weight, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_mixed(family, tmp_path):
    base = narrow(family)
    own = all_tensors(base)
    save_adapter(random_adapter(base, f"{ATTENTION}|{TEXT_ATTENTION}", rank=2), tmp_path / "a.safetensors")
    mixer = Mixer(base, tmp_path)
    mixer.set({"a": 0.5})
    changed = {key for key, tensor in all_tensors(base).items() if not torch.equal(tensor, own[key])}
    mixer.clear()
    assert len(changed) == len(load_adapter(tmp_path / "a.safetensors").updates)
    assert_equal(base, own)


PUTTING = {
    MixedWeights._put.__code__,
    *(method.__code__ for method in (MergedModule.put, MergedModule._put, Kept.__init__)),
    *(method.__code__ for method in (UnmergedModule.put, UnmergedModule._made_of)),
}


def interrupted(act, line):
    """Do `act` until the n-th line of code that puts values into a base, then raise as Ctrl-C does."""
    left = line

    def each_line(frame, event, _):
        nonlocal left
        left -= event == "line"
        if event == "line" and left == 0:
            raise KeyboardInterrupt
        return each_line

    def each_call(frame, *_):
        return each_line if frame.f_code in PUTTING else None

    before = sys.gettrace()
    sys.settrace(each_call)
    try:
        with pytest.raises(KeyboardInterrupt):
            act()
    finally:
        sys.settrace(before)


@pytest.mark.parametrize("line", [*range(1, 20), 500])
def test_an_interruption_anywhere_is_forgotten_by_the_next_mix(line, mixer, mini_values):
    mixer.set({"clay": 0.8, "ink": 0.5})
    expected = all_tensors(mixer.base)
    interrupted(lambda: mixer.set({"clay": 0.3, "blob": 0.5}), line)
    mixer.set({"clay": 0.8, "ink": 0.5})
    assert_equal(mixer.base, expected)
    interrupted(mixer.clear, line)
    mixer.set({"clay": 0.8, "ink": 0.5})
    assert_equal(mixer.base, expected)
    interrupted(lambda: mixer.set({"blob": -0.5}), line)
    mixer.clear()
    assert_equal(mixer.base, mini_values)


def test_a_base_that_is_cast_in_between_mixes_as_one_just_loaded(library):
    base, fresh = load_base("mini"), load_base("mini", dtype=torch.bfloat16)
    own = all_tensors(fresh)
    mixer = Mixer(base, library)
    mixer.set({"clay": 0.8})
    base.to(dtype=torch.bfloat16)
    mixer.set({"clay": 0.8})
    Mixer(fresh, library).set({"clay": 0.8})
    assert_equal(base, all_tensors(fresh))
    mixer.clear()
    assert_equal(base, own)


def test_an_adapter_file_that_changes_is_read_anew(mixer, mini, tmp_path):
    for seed in (1, 2):
        adapter = random_adapter(mini, ATTENTION, seed=seed)
        save_adapter(adapter, tmp_path / "a.safetensors", dtype="fp32")
        mixer.clear()
        before = mini.modules()[TO_Q].weight.clone()
        mixer.set({"a": 1.0}, library=tmp_path)
        assert torch.equal(mini.modules()[TO_Q].weight, mixed_weight(before, [(1.0, adapter.updates[TO_Q])]))


def refused(mixer, mix, **options):
    """The sentence with which a mix is refused; the one before it stays, to the bit."""
    mixer.set({"clay": 0.8})
    before = all_tensors(mixer.base)
    with pytest.raises(Error) as caught:
        mixer.set(mix, **options)
    assert_equal(mixer.base, before)
    assert [(adapter.name, weights) for adapter, weights in mixer.adapters] == [("clay", Weights(0.8, 0.8))]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_unknown_name_hears_near_ones(mixer, library):
    sentence = refused(mixer, {"ink": 1.0, "clai": 0.5})
    assert "no adapter 'clai'" in sentence and "did you mean clay?" in sentence and str(library) in sentence
    assert "it has blob, clay, ink" in refused(mixer, {"xyzzy": 0.5})


def test_without_a_library_a_name_has_nowhere_to_be(mini):
    with pytest.raises(Error, match="no library folder was given"):
        Mixer(mini).set({"clay": 1.0})


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), "1", None])
def test_a_weight_that_is_no_finite_number(weight, mixer):
    assert "give a finite number" in refused(mixer, {"ink": weight})


def test_another_family(mixer, tmp_path):
    save_adapter(random_adapter(narrow("sd2"), FULL, rank=1), tmp_path / "other.safetensors")
    sentence = refused(mixer, {"other": 1.0}, library=tmp_path)
    assert "'other' is for sd2, the base mini is sd1" in sentence


def test_another_geometry(mixer, tmp_path):
    updates = {
        path: random_lora(tuple(module.weight.shape), 1, 1.0, 1)
        for path, module in meta_modules("sd1").items()
        if "mid_block" in path and path.endswith("to_k")
    }
    save_adapter(Adapter("sd15", updates, family="sd1"), tmp_path / "sd15.safetensors")
    sentence = refused(mixer, {"sd15": 1.0}, library=tmp_path)
    assert "made for a base of another size" in sentence and "1280" in sentence


def test_a_module_that_the_base_has_not(mixer, tmp_path):
    """Mini's text encoder has 4 layers; an adapter that fits elsewhere is not applied in part."""
    deep = "text_encoder.text_model.encoder.layers.11.self_attn.q_proj"
    updates = {TO_Q: random_lora((128, 128), 1, 1.0, 1), deep: random_lora((160, 160), 1, 1.0, 2)}
    save_adapter(Adapter("deep", updates, family="sd1"), tmp_path / "deep.safetensors")
    assert f"no module {deep}" in refused(mixer, {"deep": 1.0}, library=tmp_path)


def test_a_link_has_its_own_name(mixer, library, tmp_path):
    try:
        (tmp_path / "named.safetensors").symlink_to(library / "ink.safetensors")
    except OSError:
        pytest.skip("this system makes no links")
    mixer.set({"named": 1.0}, library=tmp_path)
    assert mixer.adapters[0][0].name == "named"
