"""Drawing over a picture, and again at a larger size."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, HeunDiscreteScheduler
from diffusers import StableDiffusionImg2ImgPipeline as Pipeline
from PIL import Image

from sdlora.errors import Error
from sdlora.resources import MINI
from sdlora.sampling.denoise import encode_picture
from sdlora.sampling.recipe import SecondPass
from sdlora.sampling.samplers import SAMPLERS

PROMPT = "red apple, noto style"
QUICK = {"steps": 4, "size": 64, "seed": 1, "sampler": "DDIM"}


def pixels(made):
    return np.asarray(made[0].image, dtype=int)


def apart(one, other):
    return np.abs(pixels(one) - np.asarray(other, dtype=int)).mean()


@pytest.fixture(scope="module")
def photo():
    gradient = np.linspace(0, 255, 96 * 64).reshape(64, 96)
    return Image.fromarray(np.stack([gradient, 255 - gradient, gradient[:, ::-1]], -1).astype(np.uint8))


@pytest.mark.parametrize(
    ("sampler", "scheduler", "options"),
    [
        ("DDIM", DDIMScheduler, {}),
        ("Euler", EulerDiscreteScheduler, {}),
        ("DPM++ 2M Karras", DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
        ("Heun", HeunDiscreteScheduler, {}),
    ],
)
def test_as_diffusers_draws_over_the_same_latents(sampler, scheduler, options, photo, mixer):
    pipeline = Pipeline.from_pretrained(MINI, safety_checker=None, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, **options)
    ours = mixer.generate(PROMPT, "blue", 5, image=photo, strength=0.5, size=64, steps=8, sampler=sampler, guidance=4.0)
    theirs = pipeline(
        PROMPT,
        image=encode_picture(mixer.base, ours[0].parameters.recipe.image, (64, 64)),
        negative_prompt="blue",
        strength=0.5,
        num_inference_steps=8,
        guidance_scale=4.0,
        generator=torch.Generator().manual_seed(5),
    ).images[0]
    assert apart(ours, theirs) < 1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_more_strength_more_change(sampler, photo, mixer):
    steps = []
    made = [
        mixer.generate(PROMPT, image=photo, strength=s, on_step=steps.append, **(QUICK | {"sampler": sampler}))
        for s in (0.25, 1.0)
    ]
    goal = made[0][0].parameters.recipe.image
    assert apart(made[0], goal) < apart(made[1], goal)
    assert steps[0].index == 1 and steps[-1].index == steps[-1].total > steps[0].total


def test_a_picture_is_cut_to_the_size_or_keeps_its_proportions(photo, mixer, tmp_path):
    photo.save(tmp_path / "photo.png")
    as_file = mixer.generate(PROMPT, image=tmp_path / "photo.png", **(QUICK | {"size": None}))
    assert as_file[0].image.size == (160, 104) and as_file[0].parameters.recipe.strength == 0.6
    assert np.array_equal(pixels(as_file), pixels(mixer.generate(PROMPT, image=photo, **(QUICK | {"size": None}))))
    assert mixer.generate(PROMPT, image=photo, **QUICK)[0].image.size == (64, 64)


def test_a_second_pass_is_the_first_one_larger(mixer):
    small = mixer.generate(PROMPT, **QUICK)
    steps = []
    large = mixer.generate(PROMPT, second_pass=SecondPass(1.5, 0.5), on_step=steps.append, **QUICK)
    assert large[0].image.size == (96, 96)
    assert apart(small, large[0].image.resize((64, 64))) < 25
    assert [step.index for step in steps] == [1, 2, 3, 4, 5, 6] and {step.total for step in steps} == {6}
    again = mixer.generate(PROMPT, second_pass=SecondPass(1.5, 0.5, steps=8), **QUICK)
    assert not np.array_equal(pixels(large), pixels(again))


def test_a_second_pass_over_a_picture_is_drawing_over_it_enlarged(mixer):
    (small,) = mixer.generate(PROMPT, **QUICK)
    large = mixer.generate(PROMPT, second_pass=SecondPass(1.5, 0.5), **QUICK)
    enlarged = small.image.resize((96, 96), Image.Resampling.LANCZOS)
    by_hand = mixer.generate(PROMPT, image=enlarged, strength=0.5, **(QUICK | {"size": 96}))
    assert np.array_equal(pixels(large), pixels(by_hand))


def test_in_a_second_pass_the_time_of_the_first_is_over(mixer):
    """Prompts and adapters alike: what stops on the way is not there any more."""
    mixer.set({"ink": {"unet": 0.9, "text": 0.0, "stop": 0.9}})
    (small,) = mixer.generate(f"[{PROMPT}::0.9]", **QUICK)
    large = mixer.generate(f"[{PROMPT}::0.9]", second_pass=SecondPass(1.5, 0.5), **QUICK)
    mixer.clear()
    enlarged = small.image.resize((96, 96), Image.Resampling.LANCZOS)
    by_hand = mixer.generate("", image=enlarged, strength=0.5, **(QUICK | {"size": 96}))
    assert np.array_equal(pixels(large), pixels(by_hand))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"strength": 0.5}, "give an image with it"),
        ({"image": Image.new("RGB", (64, 64)), "strength": 0.0}, "strength is 0.0"),
        ({"image": Image.new("RGB", (64, 64)), "strength": 0.2}, "strength 0.2 of 4 steps is less than one step"),
        ({"second_pass": SecondPass(0.5)}, "scale is 0.5"),
        ({"second_pass": SecondPass(2.0, 1.5)}, "second pass: strength is 1.5"),
        ({"image": "no-such.png"}, "no-such.png' cannot be read"),
    ],
)
def test_settings_that_can_not_work_are_refused_before_the_first_step(settings, sentence, mixer):
    with pytest.raises(Error, match=sentence):
        mixer.generate("a", **QUICK, **settings, on_step=lambda step: pytest.fail("began to draw"))
