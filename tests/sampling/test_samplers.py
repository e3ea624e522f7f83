"""Samplers by their names, on the base's own noise schedule."""

import diffusers
import pytest

from sdlora.errors import Error
from sdlora.sampling.samplers import DEFAULT, SAMPLERS, find_sampler, make_scheduler
from tests.bases.written import narrow


def test_names_are_found_in_any_case():
    assert find_sampler("dpm++ 2m karras") is find_sampler(DEFAULT) is SAMPLERS["DPM++ 2M Karras"]


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
