"""Adapters at once, in turns, side by side."""

import numpy as np
import pytest
import torch

from sdlora.bases import load_base
from sdlora.errors import Error
from sdlora.mixing import Mixer
from sdlora.mixing.modes import shares
from sdlora.sampling.denoise import prompt_context
from sdlora.sampling.recipe import Recipe
from tests.conftest import all_tensors
from tests.mixing.test_mixer import assert_equal

QUICK = {"steps": 4, "size": 64, "seed": 1, "sampler": "DDIM"}
MIX = {"clay": 0.9, "ink": {"unet": -0.3, "text": 0.3}}


def pixels(mixer, prompt="red apple", **more):
    return np.asarray(mixer.generate(prompt, **(QUICK | more))[0].image, dtype=int)


def plan(mixer, mix, steps, mode="switch"):
    """Who acts in each step, by name."""
    mixer.set(mix, mode)
    active = [adapter for adapter, weights in mixer.adapters if weights.active]
    names = [adapter.name for adapter in sorted(active, key=lambda adapter: adapter.content_hash)]
    found = shares(mode, mixer.adapters, range(steps), steps)
    return [{[*names, "none"][voice]: round(share, 9) for share, voice in step} for step in found]


def test_one_adapter_alone_is_the_same_in_every_mode(mixer):
    pictures = []
    for mode in ("blend", "switch", "composite"):
        mixer.set({"clay": {"unet": 0.8, "text": 0.4}}, mode)
        pictures.append(pixels(mixer))
    assert all(np.array_equal(picture, pictures[0]) for picture in pictures[1:])


def test_modes_differ_and_their_order_does_not_matter(mixer):
    pictures = {}
    for mode in ("blend", "switch", "composite"):
        mixer.set(MIX, mode)
        pictures[mode] = pixels(mixer)
        mixer.set(dict(reversed(MIX.items())), mode)
        assert np.array_equal(pixels(mixer), pictures[mode]), mode
    assert len({picture.tobytes() for picture in pictures.values()}) == 3


def test_in_turns_each_has_its_share_of_the_steps(mixer):
    turns = plan(mixer, {"clay": 0.6, "ink": 0.2, "blob": -0.2}, 10)
    names = [name for step in turns for name in step]
    assert (names.count("clay"), names.count("ink"), names.count("blob")) == (6, 2, 2)
    assert [list(step.values()) for step in turns] == [[1.0]] * 10
    assert {*names[:5]} == {"clay", "ink", "blob"}  # interleaved, not one after the other


def test_who_is_not_in_force_has_no_turn(mixer):
    turns = plan(mixer, {"clay": {"stop": 0.5}, "ink": {"start": 0.25, "stop": 0.75}, "blob": 0.0}, 8)
    names = [next(iter(step)) for step in turns]
    assert names[:2] == ["clay", "clay"] and sorted(names[2:4]) == ["clay", "ink"]
    assert names[4:] == ["ink", "ink", "none", "none"]


def test_composite_weighs_each_ones_own_prediction(mixer, library):
    """Against a mean of predictions made here, on single mixers."""
    composite = plan(mixer, {"clay": 0.6, "ink": -0.2}, 2, "composite")
    assert composite == [{"clay": 0.75, "ink": 0.25}] * 2
    entry = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))

    def prediction(mix):
        base = load_base("mini")
        Mixer(base, library).set(mix)
        states, _ = prompt_context(base, Recipe("red apple", "", 1, 1, 1.0, "DDIM", (64, 64))).at(0, 1)
        return base.unet(entry, 981, states).sample

    with torch.no_grad():
        expected = 0.75 * prediction({"clay": 0.6}) + 0.25 * prediction({"ink": -0.6})
    base = load_base("mini")
    mixer = Mixer(base, library)
    mixer.set({"clay": 0.6, "ink": -0.2}, "composite")
    assert mixer.passes == 2
    seen = []
    forward = base.unet.forward

    def watched(*given, **named):
        output = forward(entry, 981, given[2], **named)
        seen.append(output.sample.clone())
        return output

    base.unet.forward = watched
    mixer.generate("red apple", seed=1, steps=1, size=64, guidance=1.0)
    order = [adapter.name for adapter, _ in sorted(mixer.adapters, key=lambda e: e[0].content_hash)]
    weights = {"clay": 0.75, "ink": 0.25}
    ours = sum(weights[name] * guess for name, guess in zip(order, seen, strict=True))
    assert torch.allclose(ours, expected, atol=1e-6)


def test_an_adapter_acts_in_its_time_only(mixer):
    plain = pixels(mixer)
    mixer.set({"ink": 0.9})
    whole = pixels(mixer)
    mixer.set({"ink": {"unet": 0.9, "start": 0.5}})
    late = pixels(mixer)
    mixer.set({"ink": {"unet": 0.9, "stop": 0.5}})
    early = pixels(mixer)
    assert len({picture.tobytes() for picture in (plain, whole, late, early)}) == 4
    steps = []
    mixer.set({"ink": {"unet": 0.9, "start": 0.5}})
    mixer.generate("red apple", **QUICK, on_step=lambda step: steps.append(step.latents))
    without = []
    mixer.clear()
    mixer.generate("red apple", **QUICK, on_step=lambda step: without.append(step.latents))
    assert [torch.equal(a, b) for a, b in zip(steps, without, strict=True)] == [True, True, False, False]


@pytest.mark.parametrize("mode", ["blend", "switch", "composite"])
def test_after_a_drawing_the_base_is_as_before(mode, library):
    base = load_base("mini")
    own, mixer = all_tensors(base), Mixer(base, library)
    mixer.set({"clay": {"unet": 0.5, "text": 0.2, "stop": 0.5}, "ink": {"ramp_in": 1.0}}, mode)
    at_rest = all_tensors(base)
    mixer.generate("red apple", **QUICK)
    assert_equal(base, at_rest)
    mixer.generate("red apple <lora:blob:1>", **QUICK)
    assert_equal(base, at_rest)
    mixer.clear()
    assert_equal(base, own)


def test_an_unknown_mode_and_what_no_single_adapter_can_do(mixer, tmp_path):
    with pytest.raises(Error, match="there is no mode 'mix': give blend, switch, composite"):
        mixer.set({"ink": 1.0}, "mix")
    mixer.set({"ink": 1.0}, "switch")
    with pytest.raises(Error, match="its mode is switch"):
        mixer.export(tmp_path / "a.safetensors")
    mixer.set({"ink": {"start": 0.5}})
    with pytest.raises(Error, match="'ink' acts for part of the time only"):
        mixer.export(tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())
