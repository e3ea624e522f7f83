"""Separate weights, block factors, disabled entries: what they do to each module, and how mistakes are told."""

import re

import pytest
import torch

from sdlora.adapters import load_adapter
from sdlora.adapters.algebra import mixed_weight
from sdlora.mixing.mix import Weights, parse
from tests.conftest import all_tensors
from tests.mixing.test_mixer import assert_equal, refused, weights_of

PATHS = ("unet.mid_block.attentions.0.proj_in", "unet.up_blocks.1.resnets.0.conv1", "text_encoder.text_model.a.fc1")


def factor_by_hand(blocks, path):
    """The longest prefix, found the long way."""
    found = [prefix for prefix in blocks if path == prefix or path.startswith(f"{prefix}.")]
    return blocks[max(found, key=len)] if found else 1.0


def test_each_module_gets_its_components_weight_times_its_blocks_factor(mixer, library):
    before = weights_of(mixer.base)
    blocks = {
        "unet": 0.5,
        "unet.mid_block": 0.0,
        "unet.down_blocks.1": -2.0,
        "unet.down_blocks.1.attentions.0": 3,
        "text_encoder.text_model.encoder.layers.0": 0.25,
    }
    mixer.set({"clay": {"unet": 0.6, "text": 0.3, "blocks": blocks, "enabled": True}})
    updates = load_adapter(library / "clay.safetensors").updates
    seen = set()
    for path, weight in weights_of(mixer.base).items():
        if path not in updates:
            assert torch.equal(weight, before[path])
            continue
        factor = (0.6 if path.startswith("unet.") else 0.3) * factor_by_hand(blocks, path)
        terms = [(factor, updates[path])] if factor else []
        assert torch.equal(weight, mixed_weight(before[path], terms) if terms else before[path]), path
        seen.add(factor)
    assert seen == {0.0, 0.6 * 0.5, 0.6 * -2, 0.6 * 3, 0.3, 0.3 * 0.25}


def test_a_prefix_ends_where_a_name_does():
    weights = Weights(blocks={"unet.up_blocks.1": 0.0})
    assert (weights.at("unet.up_blocks.1.resnets.0.conv1"), weights.at("unet.up_blocks.10.x")) == (0.0, 1.0)
    assert weights.at("text_encoder.text_model.x") == 1.0


def test_what_is_left_out_is_one(mixer):
    mixer.set({"clay": 1.0})
    expected = all_tensors(mixer.base)
    for same in ({}, {"unet": 1}, {"text": 1.0, "blocks": {}}, {"blocks": {"unet": 1.0}}, {"enabled": True}):
        mixer.set({"clay": same})
        assert_equal(mixer.base, expected)


def test_one_component_alone(mixer, mini_values):
    mixer.set({"clay": {"text": 0}})
    found = all_tensors(mixer.base)
    changed = {key.partition(".")[0] for key in found if not torch.equal(found[key], mini_values[key])}
    assert changed == {"unet"}
    mixer.set({"clay": {"unet": 0.0, "text": -1.0}})
    found = all_tensors(mixer.base)
    changed = {key.partition(".")[0] for key in found if not torch.equal(found[key], mini_values[key])}
    assert changed == {"text_encoder_0"}


def test_a_disabled_adapter_is_absent_but_not_forgotten(mixer):
    mixer.set({"clay": 0.5})
    expected = all_tensors(mixer.base)
    mixer.set({"ink": {"unet": 2.0, "enabled": False}, "clay": 0.5})
    assert_equal(mixer.base, expected)
    assert [(adapter.name, weights.active) for adapter, weights in mixer.adapters] == [("ink", False), ("clay", True)]


def test_a_module_is_touched_only_when_its_own_sum_changes(mixer):
    """Told by the version that torch counts up at each change in place."""
    modules = mixer.base.modules()

    def versions():
        return {path: m.weight._version for path, m in modules.items() if getattr(m, "weight", None) is not None}

    mixer.set({"clay": {"blocks": {"unet.mid_block": 0.5}}, "ink": 0.3})
    before = versions()
    mixer.set({"clay": {"blocks": {"unet.mid_block": 0.25}}, "ink": 0.3})
    touched = {path for path, version in versions().items() if version != before[path]}
    assert touched and all(path.startswith("unet.mid_block.") for path in touched)
    before = versions()
    mixer.set({"ink": 0.3, "clay": {"unet": 1, "blocks": {"unet.mid_block": 0.25}}, "blob": 0})
    assert versions() == before


def test_presets_and_lists_of_a1111(mixer, mini_values):
    mixer.set({"clay": {"blocks": "none"}})
    assert_equal(mixer.base, mini_values)
    mixer.set({"clay": {"blocks": [1.0] + 16 * [0]}})
    found = all_tensors(mixer.base)
    assert {k.partition(".")[0] for k in found if not torch.equal(found[k], mini_values[k])} == {"text_encoder_0"}
    mixer.set({"clay": 1.0})
    expected = all_tensors(mixer.base)
    mixer.set({"clay": {"blocks": "all"}})
    assert_equal(mixer.base, expected)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"unet": float("nan")}, "the unet weight of 'ink' is nan: give a finite number"),
        ({"text": "0.5"}, "the text weight of 'ink' is '0.5': give a finite number"),
        (10**400, "give a finite number"),
        (True, "the weight of 'ink' is True"),
        (
            {"txet": 0.5},
            "gives 'ink' a 'txet'.*give unet, text, blocks, .*, ramp_out; did you mean text?",
        ),
        ({"enabled": 1}, "enabled of 'ink' is 1: give true or false"),
        ({"blocks": {"unet.mid_blok": 1}}, "'unet.mid_blok'.*did you mean unet.mid_block?"),
        ({"blocks": {"unet.mid_bloc": 1}}, "no module of this base begins"),
        ({"blocks": {7: 1}}, "name 7"),
        ({"blocks": {"unet.mid_block": float("inf")}}, "factor of 'ink' for unet.mid_block is inf: give a finite"),
        ({"blocks": 0.5}, "blocks of 'ink' are 0.5"),
        ({"blocks": "styl"}, "blocks of 'ink': .*did you mean style"),
        ({"blocks": [1, 2, 3]}, "blocks of 'ink': there are 3 block weights"),
    ],
)
def test_mistakes_are_told_and_change_nothing(given, words, mixer):
    assert re.search(words, refused(mixer, {"ink": given}))


def test_a_mix_is_a_mapping(mixer):
    assert "a mix is {name: weight}" in refused(mixer, ["ink"])


@pytest.mark.parametrize("given", [0.8, {"unet": 1.0, "text": 0.0}, {"unet": 1.0, "text": 1.0, "enabled": False}])
def test_given_is_what_is_parsed(given):
    assert parse("a", given, PATHS, "sd1").given() == given
    with_blocks = {"unet": 0.5, "text": 0.5, "blocks": {"unet.mid_block": 0.0}}
    assert parse("a", with_blocks, PATHS, "sd1").given() == with_blocks
