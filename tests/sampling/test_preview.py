"""Latents as colours: they agree with what the decoder makes of them."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from sdlora.bases import load_base
from sdlora.sampling.denoise import decode, denoise, encode_picture
from sdlora.sampling.preview import SMALLEST, colour_map, preview
from sdlora.sampling.recipe import Recipe
from tests.bases.written import narrow


def shrunk(picture, side):
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX), dtype=float)


@pytest.mark.parametrize("prompt", ["red apple", "evergreen tree", "blue fish"])
def test_colours_are_those_of_the_decoded_picture(prompt, mini):
    latents = denoise(mini, Recipe(prompt, "", 3, 6, 4.0, "Euler", (128, 128)))
    shown, decoded = (shrunk(picture, 16) for picture in (preview(mini, latents), decode(mini, latents)))
    assert np.corrcoef(shown.ravel(), decoded.ravel())[0, 1] > 0.85
    assert np.abs(shown - decoded).mean() < 40


@pytest.mark.parametrize("colour", ["red", "lime", "blue", "white", "black"])
def test_a_plain_colour_is_told_from_others(colour, mini):
    plain = Image.new("RGB", (64, 64), colour)
    shown = shrunk(preview(mini, encode_picture(mini, plain, (64, 64))), 1)[0, 0]
    assert np.abs(shown - np.array(plain.getpixel((0, 0)))).max() < 110
    others = [np.array(Image.new("RGB", (1, 1), c).getpixel((0, 0))) for c in ("red", "lime", "blue", "white", "black")]
    nearest = min(others, key=lambda other: float(np.abs(shown - other).sum()))
    assert tuple(nearest) == plain.getpixel((0, 0))


def test_proportions_are_the_latents(mini):
    assert preview(mini, torch.zeros(1, 4, 8, 16)).size == (SMALLEST, SMALLEST // 2)
    assert preview(mini, torch.full((1, 4, 512, 64), 50.0)).size == (64, 512)


def test_noise_and_nan_are_pictures_too(mini):
    for latents in (20 * torch.randn(1, 4, 8, 8), torch.full((1, 4, 8, 8), float("nan"))):
        assert preview(mini, latents).mode == "RGB"


def test_each_vae_has_a_map_of_its_own(mini):
    other = dataclasses.replace(mini, vae=load_base("mini").vae)
    assert colour_map(mini) is colour_map(mini) and colour_map(other) is not colour_map(mini)
    assert torch.allclose(colour_map(other), colour_map(mini))
    for family in ("sd1", "sdxl"):
        base = narrow(family)
        assert colour_map(base).shape == (base.vae.config["latent_channels"] + 1, 3)
        assert colour_map(base).isfinite().all()


def test_a_base_in_bf16_looks_as_in_fp32(mini):
    latents = encode_picture(mini, Image.linear_gradient("L").convert("RGB"), (64, 64))
    low = np.asarray(preview(load_base("mini", dtype=torch.bfloat16), latents), dtype=float)
    assert np.abs(low - np.asarray(preview(mini, latents), dtype=float)).mean() < 5


def test_a_step_foresees_the_picture_long_before_it_is_there(mini):
    steps = []
    latents = denoise(mini, Recipe("red apple", "", 3, 12, 4.0, "DPM++ 2M Karras", (128, 128)), steps.append)
    decoded = shrunk(decode(mini, latents), 16).ravel()
    early, noisy = (preview(mini, part) for part in (steps[2].foreseen, steps[2].latents))
    alike = [np.corrcoef(shrunk(picture, 16).ravel(), decoded)[0, 1] for picture in (early, noisy)]
    assert alike[0] > 0.7 > 0.5 > alike[1]
