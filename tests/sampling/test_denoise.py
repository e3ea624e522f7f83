"""From noise to a picture."""

import dataclasses

import numpy as np
import pytest
import torch

from sdlora.errors import Error
from sdlora.sampling.defaults import defaults_for
from sdlora.sampling.denoise import Cancelled, decode, denoise, draw, starting_noise
from sdlora.sampling.recipe import Recipe
from sdlora.sampling.samplers import SAMPLERS
from tests.bases.written import narrow

RECIPE = Recipe("red apple, noto style", "", 1, 2, 4.0, "DDIM", (64, 64))


def with_(**changes):
    return dataclasses.replace(RECIPE, **changes)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_draws_finite_pictures(name, steps, mini):
    latents = denoise(mini, with_(sampler=name, steps=steps))
    assert latents.shape == (1, 4, 8, 8) and latents.isfinite().all()
    assert np.asarray(decode(mini, latents)).std() > 1


@pytest.mark.parametrize(("family", "prediction_type"), [("sd1", "epsilon"), ("sd2", "v_prediction")])
def test_both_families_and_prediction_types_draw(family, prediction_type):
    base = narrow(family)
    told = base.scheduler_config | {"prediction_type": prediction_type}
    base = type(base)(**(vars(base) | {"scheduler_config": told, "prediction_type": prediction_type}))
    assert denoise(base, with_(steps=1, sampler="DPM++ 2M")).isfinite().all()


def test_the_same_recipe_gives_the_same_bits_and_each_part_counts(mini):
    first = denoise(mini, RECIPE)
    assert torch.equal(first, denoise(mini, RECIPE))
    changes = [{"prompt": "octopus"}, {"negative": "red"}, {"seed": 2}, {"steps": 3}, {"guidance": 5.0}]
    for change in [*changes, {"sampler": "Euler a"}]:
        assert not torch.equal(first, denoise(mini, with_(**change))), change


def test_noise_is_the_seeds_and_of_the_pictures_shape(mini):
    noise, _ = starting_noise(mini, with_(size=(96, 64), seed=7))
    assert torch.equal(noise, torch.randn(1, 4, 8, 12, generator=torch.Generator().manual_seed(7)))


@pytest.mark.parametrize("size", [(96, 64), (64, 96), (72, 104), (128, 128)])
def test_size_is_width_and_height(size, mini):
    assert draw(mini, with_(size=size)).size == size


@pytest.mark.parametrize("guidance", [1.0, 0.0])
def test_without_guidance_the_unet_sees_the_prompt_alone(guidance, mini):
    seen = []
    hook = mini.unet.register_forward_pre_hook(lambda _, entry: seen.append(len(entry[0])))
    try:
        one = denoise(mini, with_(guidance=guidance))
        other = denoise(mini, with_(guidance=guidance, negative="apple"))
        assert seen == [1] * 4
        denoise(mini, with_(guidance=1.5))
        assert seen[4:] == [2] * 2
    finally:
        hook.remove()
    assert torch.equal(one, other)


def test_guidance_goes_from_the_negative_prompt_to_the_prompt(mini):
    """With the same text on both sides there is nowhere to go: as without guidance, but for rounding."""
    same = denoise(mini, with_(negative=RECIPE.prompt, guidance=7.0))
    assert torch.allclose(same, denoise(mini, with_(guidance=1.0)), atol=1e-3)


@pytest.mark.parametrize(("sampler", "total"), [("DDIM", 4), ("Heun", 7), ("DPM++ SDE", 8)])
def test_each_step_is_told(sampler, total, mini):
    steps = []
    last = denoise(mini, with_(steps=4, sampler=sampler), steps.append)
    assert [(step.index, step.total) for step in steps] == [(i + 1, total) for i in range(total)]
    assert torch.equal(steps[-1].latents, last)


def test_a_callback_can_cancel(mini):
    steps = []

    def cancel_at_two(step):
        steps.append(step.index)
        if step.index == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        draw(mini, with_(steps=5), cancel_at_two)
    assert steps == [1, 2]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"size": (100, 64)}, "size 100x64: both sides must be multiples of 8 pixels"),
        ({"size": (64, 0)}, "size 64x0"),
        ({"size": (64, -8)}, "size 64x-8"),
        ({"steps": 0}, "steps is 0: give 1 to 999"),
        ({"steps": 1000}, "steps is 1000: give 1 to 999"),
        ({"guidance": float("nan")}, "guidance is nan"),
        ({"seed": -1}, "seed is -1: give a whole number from 0"),
        ({"seed": 2**64}, f"seed is {2**64}: give a whole number from 0"),
        ({"sampler": "nonsense"}, "no sampler 'nonsense'"),
    ],
)
def test_settings_that_can_not_work_are_refused_at_once(change, sentence, mini):
    with pytest.raises(Error) as caught:
        draw(mini, with_(**change), lambda step: pytest.fail("began to draw"))
    assert sentence in str(caught.value)


def test_the_largest_seed_draws(mini):
    assert denoise(mini, with_(seed=2**64 - 1, steps=1)).isfinite().all()


def test_a_picture_of_nan_is_an_error(mini):
    with pytest.raises(Error, match="use fp32 or bf16 instead of fp16"):
        decode(mini, torch.full((1, 4, 8, 8), float("nan")))


def test_defaults_are_the_bases(mini):
    assert defaults_for(mini).side == 128 and defaults_for(mini).guidance == 4.0
    assert defaults_for(narrow("sd1")).guidance == 7.0 and defaults_for(narrow("sdxl")).guidance == 5.0
    assert defaults_for(mini).sampler in SAMPLERS
