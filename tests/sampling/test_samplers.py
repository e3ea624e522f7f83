"""Samplers by their names, on the base's own noise schedule."""

import time

import diffusers
import pytest
import torch

from sdlora.errors import Error
from sdlora.sampling.denoise import denoise
from sdlora.sampling.recipe import Recipe
from sdlora.sampling.samplers import DEFAULT, SAMPLERS, find_sampler, make_scheduler
from tests.bases.written import narrow


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("dpm++ 2m karras", DEFAULT),
        ("dpmpp_2m", "DPM++ 2M"),
        ("DPM++ 2M K", "DPM++ 2M Karras"),
        ("k_dpmpp_sde_k", "DPM++ SDE Karras"),
        ("dpmpp_3m_sde", "DPM++ 3M SDE"),
        ("EULER A", "Euler a"),
        ("euler_ancestral", "Euler a"),
        ("k_euler_a", "Euler a"),
        ("PNDM", "PLMS"),
        ("uni_pc", "UniPC"),
        ("lcm", "LCM"),
        (" heun ", "Heun"),
    ],
)
def test_names_are_found_in_any_case_and_the_usual_spellings(spelling, name):
    assert find_sampler(spelling) is SAMPLERS[name]


def test_names_are_found_as_image_metadata_writes_them():
    for sampler in SAMPLERS.values():
        assert find_sampler(sampler.name, sampler.schedule) is sampler
    assert find_sampler("DPM++ 2M Karras", "Automatic") is SAMPLERS["DPM++ 2M Karras"]
    with pytest.raises(Error, match="no sampler 'Euler Exponential': did you mean Euler a"):
        find_sampler("Euler", "Exponential")


@pytest.mark.parametrize("name", [name for name in SAMPLERS if "SDE" in name or name in ("Euler a", "LCM")])
def test_noise_at_the_steps_is_the_seeds(name, mini):
    def drawn(seed):
        torch.manual_seed(time.perf_counter_ns())  # no sampler may draw from the global generator
        return denoise(mini, Recipe("red apple", "", seed, 3, 1.0, name, (64, 64)))

    first = drawn(1)
    assert torch.equal(first, drawn(1)) and not torch.equal(first, drawn(2))


def test_most_steps_are_the_samplers(mini):
    for name, most in {"Euler": 999, "DPM++ SDE": 499, "LCM": 50}.items():
        assert SAMPLERS[name].most_steps(mini) == most
        Recipe("a", "", 1, most, 1.0, name, (64, 64)).check(mini)
        make_scheduler(mini, name).set_timesteps(most * SAMPLERS[name].evaluations)
        with pytest.raises(Error, match=f"steps is {most + 1}: give 1 to {most}"):
            Recipe("a", "", 1, most + 1, 1.0, name, (64, 64)).check(mini)


@pytest.mark.parametrize(
    ("wrong", "right"), [("Eular", "Euler"), ("dpm 2m karras", "DPM++ 2M Karras"), ("ddimm", "DDIM")]
)
def test_an_unknown_name_hears_a_near_one_and_all(wrong, right):
    with pytest.raises(Error) as caught:
        find_sampler(wrong)
    assert f"did you mean {right}?" in str(caught.value)
    assert all(name in str(caught.value) for name in SAMPLERS)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_schedule_is_what_diffusers_makes_of_the_bases_config(name, mini):
    cls = getattr(diffusers, SAMPLERS[name].scheduler)
    for base in (mini, narrow("sd1")):  # whose configs are written for two other classes, and say different things
        ours, theirs = make_scheduler(base, name), cls.from_config(base.scheduler_config, **SAMPLERS[name].options)
        for scheduler in (ours, theirs):
            scheduler.set_timesteps(7)
        assert ours.timesteps.tolist() == theirs.timesteps.tolist()
        assert ours.alphas_cumprod.tolist() == theirs.alphas_cumprod.tolist()
        assert ours.config.prediction_type == base.prediction_type
        if name == "DDIM":
            assert ours.final_alpha_cumprod == theirs.final_alpha_cumprod


@pytest.mark.parametrize("name", SAMPLERS)
def test_prediction_type_and_zero_terminal_snr_are_carried_over(name):
    base = narrow("sd2")
    told = base.scheduler_config | {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    config = make_scheduler(type(base)(**(vars(base) | {"scheduler_config": told})), name).config
    assert config.prediction_type == "v_prediction"
    assert config.get("rescale_betas_zero_snr", True) is True
    assert make_scheduler(base, name).config.prediction_type == "epsilon"


def test_what_is_not_about_noise_does_not_leak_from_the_bases_scheduler():
    base = narrow("sd1")
    told = base.scheduler_config | {"clip_sample": True, "thresholding": True}
    config = make_scheduler(type(base)(**(vars(base) | {"scheduler_config": told})), "DDIM").config
    assert config.clip_sample is False and config.thresholding is False
