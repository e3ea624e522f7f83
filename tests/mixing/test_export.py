"""A mix as one adapter, as a TOML file, and with weights in units of strength."""

import json

import pytest
import torch

from sdlora.adapters import Adapter, load_adapter, save_adapter
from sdlora.adapters.algebra import strength
from sdlora.adapters.updates import DoRA, Full, Norm
from sdlora.bases import load_base
from sdlora.errors import Error
from sdlora.mixing import Mixer
from sdlora.mixing.equalise import UNIT
from sdlora.mixing.export import MIX_KEY
from tests.adapters.made import ATTENTION, TEXT_ATTENTION, numbers, random_adapter, random_lora
from tests.conftest import all_tensors
from tests.mixing.test_mixer import assert_equal, weights_of

MIX = {
    "clay": {"unet": 0.6, "text": -0.3, "blocks": {"unet.mid_block": 0.0, "unet.up_blocks.0": 2.0}},
    "ink": 0.4,
    "blob": {"unet": 1.5, "text": 0.0},
}


def test_an_export_does_at_weight_one_what_the_mix_does(mixer, tmp_path):
    own = weights_of(mixer.base)
    mixer.set(MIX | {"ink": {"enabled": False}})
    mixed = weights_of(mixer.base)
    report = mixer.export(tmp_path / "one.safetensors", dtype="fp32")
    assert report.relative < 1e-6  # the rounding of factors to fp32
    mixer.set({"one": 1.0}, library=tmp_path)
    for path, weight in weights_of(mixer.base).items():
        change = (mixed[path] - own[path]).norm()
        assert torch.equal(weight, own[path]) == (change == 0), path
        assert (weight - mixed[path]).norm() <= 1e-5 * change, path


def test_an_export_says_what_it_was_made_of(mixer, tmp_path):
    mixer.set(MIX | {"ink": 0.0})
    mixer.export(tmp_path / "one.safetensors")
    adapter = load_adapter(tmp_path / "one.safetensors")
    assert (adapter.family, adapter.geometry) == ("sd1", "mini")
    assert adapter.metadata["modelspec.merged_from"] == "clay, blob"
    told = json.loads(adapter.metadata[MIX_KEY])
    assert [part["name"] for part in told] == ["clay", "blob"]
    assert told[0]["weights"] == MIX["clay"] and len(told[0]["hash"]) == 64


def test_a_rank_makes_an_export_smaller_and_its_error_is_told(mixer, tmp_path):
    mixer.set({"clay": 0.6, "ink": 0.4})
    whole = mixer.export(tmp_path / "whole.safetensors")
    small = mixer.export(tmp_path / "small.safetensors", rank=2)
    assert whole.relative < 1e-6 < small.relative < 1
    assert max(update.rank for update in load_adapter(tmp_path / "small.safetensors").updates.values()) == 2


def test_kinds_that_read_the_weight_are_exported_from_the_pristine_one(mini, tmp_path):
    """DoRA-like kinds see the base as it is without the mix, which is on it while this is exported."""
    path = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    norm = "unet.mid_block.resnets.0.norm1"
    modules = mini.modules()
    shape = tuple(modules[path].weight.shape)
    dora = DoRA(random_lora(shape, 2, 1.0, 1, 0.1), 1 + 0.1 * numbers((shape[0], 1), 1))
    change = Norm(*(0.1 * numbers(tuple(t.shape), 2) for t in (modules[norm].weight, modules[norm].bias)))
    kinds = Adapter("kinds", {path: dora, norm: change}, family="sd1")
    save_adapter(kinds, tmp_path / "kinds.safetensors", dtype="fp32")
    mixer = Mixer(mini, tmp_path)
    try:
        mixer.set({"kinds": -0.7})
        mixed = all_tensors(mini)
        mixer.export(tmp_path / "one.safetensors", dtype="fp32")
        mixer.set({"one": 1.0})
        for key, tensor in all_tensors(mini).items():
            assert torch.allclose(tensor, mixed[key], rtol=1e-5, atol=1e-6), key
        assert isinstance(mixer.adapters[0][0].updates[path], Full)
    finally:
        mixer.clear()


def test_learned_tokens_go_along_under_the_names_that_a_prompt_uses(mini, tmp_path):
    width = mini.text_encoders[0].config.hidden_size
    for name, seed in {"a": 1, "b": 2}.items():
        adapter = random_adapter(mini, TEXT_ATTENTION, rank=1, seed=seed)
        adapter.tokens["<s1>"] = numbers((1, width), seed)
        save_adapter(adapter, tmp_path / f"{name}.safetensors", dtype="fp32")
    mixer = Mixer(mini, tmp_path)
    try:
        mixer.set({"a": 0.5, "b": 0.5})
        names = set(mixer.tokens)
        mixer.export(tmp_path / "one.safetensors", dtype="fp32")
    finally:
        mixer.clear()
    tokens = load_adapter(tmp_path / "one.safetensors").tokens
    assert tokens.keys() == names == {"<s1>", "<s1>-a", "<s1>-b"}
    assert torch.equal(tokens["<s1>-a"], load_adapter(tmp_path / "a.safetensors").tokens["<s1>"])


def test_nothing_is_no_export(mixer, tmp_path):
    mixer.set({"ink": 0.0, "clay": {"enabled": False}})
    with pytest.raises(Error, match="nothing to export"):
        mixer.export(tmp_path / "one.safetensors")
    assert not (tmp_path / "one.safetensors").exists()


@pytest.fixture
def loud_and_faint(mini, tmp_path):
    for name, size in {"faint": 0.001, "loud": 0.1}.items():
        adapter = random_adapter(mini, f"{ATTENTION}|{TEXT_ATTENTION}", seed=1, size=size)
        save_adapter(adapter, tmp_path / f"{name}.safetensors", dtype="fp32")
    return tmp_path


def test_equalised_weights_are_in_units_of_strength(mini, mixer, loud_and_faint):
    pristine = weights_of(mini)
    given = {"unet": 2.0, "text": 2.0, "blocks": {"unet.mid_block": 0.5}}
    for name in ("faint", "loud"):
        mixer.set({name: given}, library=loud_and_faint, equalise=True)
        ((adapter, weights),) = mixer.adapters
        assert weights.unet * strength(adapter, pristine).total.ratio == pytest.approx(2 * UNIT, rel=1e-3)
        assert weights.blocks == {"unet.mid_block": 0.5} and weights.text == weights.unet


def test_equalising_does_not_depend_on_what_was_mixed_before(mixer, loud_and_faint, library):
    mix = {"loud": 1.0, "faint": 0.5}
    mixer.set(mix, library=loud_and_faint, equalise=True)
    first = all_tensors(mixer.base)
    other = Mixer(mixer.base, library)
    other.set({"clay": 50.0, "ink": -3.0})
    again = Mixer(mixer.base)
    again.set(mix, library=loud_and_faint, equalise=True)
    assert_equal(mixer.base, first)


def test_an_adapter_without_a_change_is_not_equalised(mini, mixer, tmp_path):
    silent = random_adapter(mini, ATTENTION, size=0.0)
    save_adapter(silent, tmp_path / "silent.safetensors")
    mixer.set({"silent": 1.0}, library=tmp_path, equalise=True)
    assert mixer.adapters[0][1].unet == 1.0


@pytest.mark.parametrize("equalise", [False, True])
def test_a_saved_mix_is_the_same_mix(equalise, mixer, mini_values, library, tmp_path):
    mixer.set(MIX | {"ink": {"unet": 1e-5, "enabled": False}}, equalise=equalise)
    expected, adapters = all_tensors(mixer.base), mixer.adapters
    mixer.save(tmp_path / "mix.toml")
    mixer.clear()
    other = Mixer(mixer.base, library)
    other.load(tmp_path / "mix.toml")
    assert_equal(other.base, expected)
    assert {a.name: w for a, w in other.adapters} == {a.name: w for a, w in adapters}


def test_files_are_found_beside_the_mix(mini, mixer, library, tmp_path):
    (tmp_path / "here" / "sub").mkdir(parents=True)
    for name in ("clay", "ink"):
        (tmp_path / "here" / "sub" / f"{name}.safetensors").write_bytes((library / f"{name}.safetensors").read_bytes())
    mixer.set({"clay": 0.5, "ink": 0.3}, library=tmp_path / "here" / "sub")
    expected = all_tensors(mini)
    mixer.save(tmp_path / "here" / "mix.toml")
    (tmp_path / "here").rename(tmp_path / "there")
    Mixer(mini).load(tmp_path / "there" / "mix.toml")
    assert_equal(mini, expected)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("adapters = 3", "adapters is 3, where a table is meant"),
        ("[adapters]\nclay = 'x'", "weight of 'clay' is 'x'"),
        ("[adaptres]\nclay = 1", "key 'adaptres'.*adapters, mode, equalise"),
        ("equalise = 1", "equalise is 1"),
        ("[adapters]\nclai = 1", "no adapter 'clai'"),
        ("[adapters", "not valid TOML"),
    ],
)
def test_a_mistake_in_a_mix_file_names_the_file(text, words, mixer, tmp_path):
    file = tmp_path / "mix.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(Error, match=words) as caught:
        mixer.load(file)
    assert str(file) in str(caught.value)


def test_a_mix_file_that_is_not_there(mixer, tmp_path):
    with pytest.raises(Error, match="there is no mix file"):
        mixer.load(tmp_path / "mix.toml")


def test_every_dtype_is_restored_after_an_export(dtype, library, tmp_path):
    base = load_base("mini", dtype=dtype)
    own, mixer = all_tensors(base), Mixer(base, library)
    mixer.set(MIX)
    mixer.export(tmp_path / "one.safetensors")
    mixer.clear()
    assert_equal(base, own)
