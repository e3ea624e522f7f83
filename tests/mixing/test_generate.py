"""Pictures of a mix."""

import numpy as np
import pytest
import torch
from PIL import Image

from sdlora.bases import load_base
from sdlora.errors import Error
from sdlora.mixing import Mixer
from sdlora.sampling.denoise import Cancelled
from sdlora.sampling.recipe import SecondPass
from sdlora.sampling.samplers import SAMPLERS

QUICK = {"steps": 2, "size": 64}


def pixels(image):
    return np.asarray(image.image)


def same(one, other):
    return np.array_equal(pixels(one), pixels(other))


def test_several_are_the_single_ones_of_the_next_seeds(mixer):
    mixer.set({"clay": 0.8})
    three = mixer.generate("red apple", seed=5, count=3, sampler="Euler a", **QUICK)
    assert [image.parameters.seed for image in three] == [5, 6, 7]
    for image in three:
        (single,) = mixer.generate("red apple", seed=image.parameters.seed, sampler="Euler a", **QUICK)
        assert same(single, image)
    assert not same(three[0], three[1])


@pytest.mark.parametrize(
    "settings",
    [
        {"sampler": "Euler a"},
        {"sampler": "DPM++ 2M SDE", "guidance": 1.0},
        {"sampler": "DPM++ SDE", "image": Image.effect_mandelbrot((64, 64), (-2, -1.5, 1, 1.5), 100)},
        {"sampler": "DDIM", "second_pass": SecondPass(1.5)},
    ],
)
def test_those_drawn_at_once_are_the_single_ones_within_a_shade(mixer, settings):
    mixer.set({"clay": 0.8, "ink": {"unet": 0.5, "stop": 0.5}}, mode="composite")
    steps = []
    made = mixer.generate("[red|green] apple", seed=5, count=3, batch=2, on_step=steps.append, **QUICK | settings)
    assert [len(step.latents) for step in steps if step.index == 1] == [2, 1]
    for image in made:
        seed = image.parameters.seed
        (single,) = mixer.generate("[red|green] apple", seed=seed, **QUICK | settings)
        assert np.abs(pixels(single).astype(int) - pixels(image)).max() <= 1, seed
    assert not same(made[0], made[1])
    told = [[part for part in str(image.parameters).split(", ") if part.startswith("Batch")] for image in made]
    assert told == [["Batch size: 2", "Batch pos: 0"], ["Batch size: 2", "Batch pos: 1"], []]


def test_a_batch_is_at_least_one(mixer):
    with pytest.raises(Error, match="batch is 0: give at least 1"):
        mixer.generate("red apple", batch=0)


def test_a_slider_there_and_back_gives_the_first_picture(mixer):
    (plain,) = mixer.generate("red apple", seed=1, **QUICK)
    mixer.set({"clay": 0.8, "ink": 0.5})
    (first,) = mixer.generate("red apple", seed=1, **QUICK)
    mixer.set({"clay": 0.2, "ink": 0.5})
    (moved,) = mixer.generate("red apple", seed=1, **QUICK)
    mixer.set({"ink": 0.5, "clay": 0.8})
    (back,) = mixer.generate("red apple", seed=1, **QUICK)
    mixer.clear()
    (cleared,) = mixer.generate("red apple", seed=1, **QUICK)
    assert same(first, back) and same(plain, cleared)
    assert not same(first, moved) and not same(first, plain)


def test_each_of_two_mixers_draws_its_own_mix(mixer, library):
    other = Mixer(mixer.base, library)
    mixer.set({"clay": 0.8})
    (first,) = mixer.generate("red apple", seed=1, **QUICK)
    other.set({"ink": 0.9})
    (second,) = other.generate("red apple", seed=1, **QUICK)
    (again,) = mixer.generate("red apple", seed=1, **QUICK)
    assert same(again, first) and not same(second, first)
    assert "<lora:clay:0.8>" in again.parameters.prompt and "<lora:ink:0.9>" in second.parameters.prompt


def test_defaults_and_the_random_seed(mixer):
    (image,) = mixer.generate("red apple", steps=1)
    assert image.image.size == (128, 128) and image.image.mode == "RGB"
    recipe = image.parameters.recipe
    assert (recipe.guidance, recipe.sampler) == (4.0, "DPM++ 2M Karras")
    assert 0 <= image.parameters.seed < 2**32
    (again,) = mixer.generate("red apple", steps=1, seed=image.parameters.seed)
    assert same(again, image)


def test_size_is_width_and_height_or_a_side(mixer):
    assert mixer.generate("a", seed=1, steps=1, size=(96, 64))[0].image.size == (96, 64)
    assert mixer.generate("a", seed=1, steps=1, size=72)[0].image.size == (72, 72)


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_by_name(name, mixer):
    (image,) = mixer.generate("red apple", seed=1, sampler=name.upper(), **QUICK)
    assert SAMPLERS[name].name in str(image.parameters) and pixels(image).std() > 1


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"count": 0}, "count is 0"),
        ({"size": 0}, "size 0x0"),
        ({"size": 100}, "multiples of 8"),
        ({"steps": 0}, "steps is 0"),
        ({"seed": 2**64 - 1, "count": 2}, "seed is"),
        ({"sampler": "Eular"}, "did you mean Euler?"),
    ],
)
def test_settings_that_can_not_work_are_refused_before_the_first_step(settings, sentence, mixer):
    with pytest.raises(Error) as caught:
        mixer.generate("a", **({"seed": 1} | settings), on_step=lambda step: pytest.fail("began to draw"))
    assert sentence in str(caught.value)


def test_cancelled_and_on(mixer):
    mixer.set({"clay": 0.8})
    (expected,) = mixer.generate("red apple", seed=1, **QUICK)
    steps = []

    def cancel(step):
        steps.append(step.index)
        raise Cancelled

    with pytest.raises(Cancelled):
        mixer.generate("octopus", seed=2, count=2, on_step=cancel, **QUICK)
    assert steps == [1]
    assert [(adapter.name, weights.given()) for adapter, weights in mixer.adapters] == [("clay", 0.8)]
    assert same(mixer.generate("red apple", seed=1, **QUICK)[0], expected)


def test_in_bf16_too(library):
    mixer = Mixer(load_base("mini", dtype=torch.bfloat16), library)
    mixer.set({"clay": 0.8})
    assert pixels(mixer.generate("red apple", seed=1, steps=1, size=64, guidance=1.0)[0]).std() > 1
