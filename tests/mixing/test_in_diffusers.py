"""Our file in diffusers draws the picture that we draw ourselves."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

from sdlora.adapters import load_adapter, save_adapter
from tests.adapters.made import ATTENTION, FEED_FORWARD, TEXT_ATTENTION, random_adapter
from tests.by_diffusers import drawn, mini_pipeline

PROMPT, NEGATIVE = "octopus, flat style, blue background", "red"


@pytest.fixture(scope="module")
def file(mini, tmp_path_factory):
    """UNet attention and feed-forward, text encoder attention; alpha is not the rank."""
    adapter = random_adapter(mini, f"{ATTENTION}|{FEED_FORWARD}|{TEXT_ATTENTION}", rank=8, alpha=4.0, seed=3, size=0.04)
    return save_adapter(adapter, tmp_path_factory.mktemp("files") / "octopus.safetensors", dtype="fp32")


@pytest.fixture(scope="module")
def pipeline(file):
    pipeline = mini_pipeline()
    pipeline.load_lora_weights(file, adapter_name="octopus")
    return pipeline


def difference(one, other):
    """Mean absolute difference of two pictures, in parts of 255."""
    return np.abs(np.asarray(one, dtype=float) - np.asarray(other, dtype=float)).mean()


@pytest.mark.parametrize(
    ("sampler", "scheduler", "options", "weight"),
    [
        ("DDIM", DDIMScheduler, {}, 0.6),
        ("DPM++ 2M Karras", DPMSolverMultistepScheduler, {"use_karras_sigmas": True}, 1.0),
    ],
)
def test_the_same_picture(sampler, scheduler, options, weight, file, pipeline, mixer):
    settings = {"guidance": 4.0, "sampler": sampler, "size": (128, 64), "steps": 6, "seed": 5}
    (plain,) = mixer.generate(PROMPT, NEGATIVE, **settings)
    mixer.set({str(file): weight})
    (ours,) = mixer.generate(PROMPT, NEGATIVE, **settings)
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, **options)
    pipeline.set_adapters(["octopus"], [weight])
    theirs = drawn(pipeline, PROMPT, NEGATIVE, **{key: settings[key] for key in ("size", "steps", "guidance", "seed")})
    assert difference(ours.image, theirs) < 1
    assert difference(ours.image, plain.image) > 3


def test_peft_takes_every_module_with_our_delta(file, pipeline):
    layers = {f"unet.{name}": m for name, m in pipeline.unet.named_modules() if hasattr(m, "get_delta_weight")}
    for name, module in pipeline.text_encoder.named_modules():
        if hasattr(module, "get_delta_weight"):
            layers[f"text_encoder.text_model.{name.removeprefix('text_model.')}"] = module
    updates = load_adapter(file).updates
    assert layers.keys() == updates.keys()
    pipeline.set_adapters(["octopus"], [1.0])
    for path, layer in layers.items():
        with torch.no_grad():
            theirs = layer.get_delta_weight("octopus")
        assert torch.allclose(updates[path].delta(layer.weight), theirs, rtol=1e-4, atol=1e-6), path
