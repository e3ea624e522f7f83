"""SDXL with two adapters on the UNet and both text encoders: diffusers draws our pictures from our files."""

import diffusers
import numpy as np
import pytest

from sdlora.adapters import save_adapter
from sdlora.bases import Base
from sdlora.bases.random_base import random_base
from sdlora.mixing import Mixer
from tests.adapters.made import ATTENTION, FEED_FORWARD, random_adapter
from tests.by_diffusers import drawn, sdxl_pipeline

PROMPT, NEGATIVE = "a fox, flat style, blue background", "red, blurry"
BOTH_TEXTS = r"text_encoder(_2)?\..*\.(self_attn\.\w+_proj|mlp\.fc\d)"
WEIGHTS = {"ink": 0.8, "clay": -0.5}
GUIDANCE, SEED = 5.0, 7
# diffusers' DDIM and LCM clip by default, which is for models of pixels
SAMPLERS = {
    "DDIM": ("DDIMScheduler", {"clip_sample": False}),
    "Euler": ("EulerDiscreteScheduler", {}),
    "Euler a": ("EulerAncestralDiscreteScheduler", {}),
    "DPM++ 2M Karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "DPM++ 2M SDE": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "Heun": ("HeunDiscreteScheduler", {}),
    "UniPC": ("UniPCMultistepScheduler", {}),
}


def made() -> Base:
    """The same base each time: one for us, and one for diffusers, which puts layers of its own into the networks."""
    return random_base("sdxl", seed=5, narrow=True)


@pytest.fixture(scope="module")
def base():
    return made()


@pytest.fixture(scope="module")
def files(base, tmp_path_factory):
    """Different targets, ranks and alphas; each has the UNet and both encoders in it."""
    folder = tmp_path_factory.mktemp("files")
    adapters = {
        "ink": random_adapter(base, f"{ATTENTION}|{BOTH_TEXTS}", rank=8, alpha=4.0, seed=1, size=0.04),
        "clay": random_adapter(base, f"{FEED_FORWARD}|{ATTENTION}|{BOTH_TEXTS}", rank=4, alpha=4.0, seed=2, size=0.04),
    }
    return {name: save_adapter(each, folder / f"{name}.safetensors", dtype="fp32") for name, each in adapters.items()}


@pytest.fixture(scope="module")
def pipeline(files):
    pipeline = sdxl_pipeline(made())
    for name, file in files.items():
        pipeline.load_lora_weights(file, adapter_name=name)
    pipeline.set_adapters(list(WEIGHTS), list(WEIGHTS.values()))
    return pipeline


@pytest.fixture(scope="module")
def mixer(base, files):
    mixer = Mixer(base)
    mixer.set({str(files[name]): weight for name, weight in WEIGHTS.items()})
    return mixer


def check(mixer, pipeline, sampler, negative, size, steps):
    """Our picture, as saved, against diffusers' before it is rounded to 255 parts: both differences in parts of 255."""
    settings = {"seed": SEED, "steps": steps, "guidance": GUIDANCE, "sampler": sampler, "size": size}
    (ours,) = mixer.generate(PROMPT, negative, **settings)
    scheduler, options = SAMPLERS[sampler]
    pipeline.scheduler = getattr(diffusers, scheduler).from_config(mixer.base.scheduler_config, **options)
    theirs = drawn(pipeline, PROMPT, negative or None, size=size, steps=steps, guidance=GUIDANCE, seed=SEED)
    difference = np.abs(np.asarray(ours.image, dtype=float) - theirs)
    print(f"{sampler} {ours.image.size} {negative!r}: mean {difference.mean():.4f}, max {difference.max():.4f} of 255")
    assert theirs.shape == (*ours.image.size[::-1], 3) and theirs.std() > 5
    assert difference.mean() < 1 and difference.max() < 1
    return ours.image


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_same_picture(sampler, mixer, pipeline):
    check(mixer, pipeline, sampler, NEGATIVE, (64, 96), steps=3)


@pytest.mark.parametrize("sampler", ["DDIM", "Euler a", "DPM++ 2M Karras"])
def test_the_same_picture_without_a_negative_prompt(sampler, mixer, pipeline):
    """Both then lead away from zeros, which is another thing than the empty prompt."""
    check(mixer, pipeline, sampler, "", (64, 96), steps=3)


@pytest.mark.parametrize("size", [(192, 128), (256, 256)])
def test_the_same_picture_at_other_sizes(size, mixer, pipeline):
    check(mixer, pipeline, "DPM++ 2M Karras", NEGATIVE, size, steps=3)


@pytest.mark.slow
def test_the_same_picture_at_the_size_that_nobody_gives(mixer, pipeline):
    assert check(mixer, pipeline, "Euler", NEGATIVE, None, steps=2).size == (1024, 1024)


def test_each_part_of_both_adapters_shows(mixer, files, base):
    """What the tests above compare would be the same without adapters, were they not seen at all."""
    settings = {"seed": SEED, "steps": 2, "sampler": "DDIM", "size": (64, 64)}
    both = np.asarray(mixer.generate(PROMPT, **settings)[0].image, dtype=float)
    mix = {str(files[name]): {"unet": weight, "text": weight} for name, weight in WEIGHTS.items()}
    other = Mixer(base)
    for file in mix:
        for part in ("unet", "text"):
            other.set(mix | {file: mix[file] | {part: 0}})
            without = np.asarray(other.generate(PROMPT, **settings)[0].image, dtype=float)
            assert np.abs(both - without).max() > 1, (file, part)
