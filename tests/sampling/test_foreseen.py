"""What a step foresees, against diffusers' own schedulers."""

import dataclasses

import pytest
import torch

from sdlora.sampling.foreseen import foreseen
from sdlora.sampling.samplers import SAMPLERS, make_scheduler, takes_generator
from tests.bases.written import narrow


@pytest.fixture
def base():
    return dataclasses.replace(narrow("sd1"), scheduler_config=dict(narrow("sd1").scheduler_config))


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in ("PLMS", "LCM")])
def test_it_is_what_the_scheduler_reckons_with(name, prediction_type, base):
    base.scheduler_config["prediction_type"] = prediction_type
    scheduler = make_scheduler(base, name)
    scheduler.set_timesteps(10)
    generator = torch.Generator().manual_seed(1)
    options = {"generator": generator} if takes_generator(scheduler) else {}
    latents = torch.randn(1, 4, 8, 8, generator=generator) * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        entry, guess = scheduler.scale_model_input(latents, t), torch.randn(1, 4, 8, 8, generator=generator)
        found = foreseen(scheduler, entry, guess, t)
        step = scheduler.step(guess, t, latents, **options)
        latents = step.prev_sample
        theirs = getattr(step, "pred_original_sample", None)
        theirs = scheduler.model_outputs[-1] if theirs is None else theirs  # DPM-Solver++ and UniPC keep it there
        assert (found - theirs).norm() < 5e-3 * theirs.norm()  # timesteps of Karras' schedule are rounded


@pytest.mark.parametrize("name", ["PLMS", "LCM"])
def test_the_exact_noise_leads_to_the_picture(name, base):
    """These keep no such thing: here the answer is known beforehand."""
    scheduler = make_scheduler(base, name)
    scheduler.set_timesteps(4)
    picture, noise = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(2)).unbind()
    for t in scheduler.timesteps:
        entry = scheduler.add_noise(picture, noise, t[None])
        assert torch.allclose(foreseen(scheduler, entry, noise, t), picture, atol=1e-3)


def test_pure_noise_without_any_picture_in_it_is_finite(base):
    base.scheduler_config |= {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
    scheduler = make_scheduler(base, "DDIM")
    ones = torch.ones(1, 4, 8, 8)
    assert foreseen(scheduler, ones, 2 * ones, torch.tensor(999)).allclose(-2 * ones, atol=1e-2)
    base.scheduler_config["prediction_type"] = "epsilon"
    assert foreseen(make_scheduler(base, "DDIM"), ones, ones, torch.tensor(999)).isfinite().all()
