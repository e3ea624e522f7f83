"""The loss's equations against diffusers' own scheduler."""

import pytest
import torch
from diffusers import DDPMScheduler

from sdlora.bases.random_base import random_base
from sdlora.training.loss import NoiseSchedule, huber_error, squared_error

SCALED_LINEAR = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
TIMESTEPS = torch.tensor([0, 1, 499, 998, 999])


@pytest.fixture(scope="module")
def base():
    return random_base("sd1", narrow=True)


def schedule(base, prediction="epsilon", **config):
    base.prediction_type = prediction
    base.scheduler_config = SCALED_LINEAR | {"num_train_timesteps": 1000, "prediction_type": prediction} | config
    return NoiseSchedule.of(base), DDPMScheduler.from_config(base.scheduler_config)


@pytest.fixture
def drawn():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(5, 4, 8, 8, generator=generator) for _ in range(2)]


@pytest.mark.parametrize("zero_snr", [False, True])
def test_noise_and_velocity_are_diffusers_(base, drawn, zero_snr):
    latents, noise = drawn
    ours, theirs = schedule(base, "v_prediction", rescale_betas_zero_snr=zero_snr)
    torch.testing.assert_close(
        ours.noisy(latents, noise, TIMESTEPS), theirs.add_noise(latents, noise, TIMESTEPS), rtol=1e-6, atol=1e-6
    )
    torch.testing.assert_close(
        ours.target(latents, noise, TIMESTEPS), theirs.get_velocity(latents, noise, TIMESTEPS), rtol=1e-6, atol=1e-6
    )


def test_epsilon_s_target_is_the_noise(base, drawn):
    latents, noise = drawn
    assert torch.equal(schedule(base)[0].target(latents, noise, TIMESTEPS), noise)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_min_snr_is_the_paper_s(base, prediction):
    ours, theirs = schedule(base, prediction)
    alpha = theirs.alphas_cumprod[TIMESTEPS]
    snr = alpha / (1 - alpha)
    clipped = torch.minimum(snr, torch.full_like(snr, 5.0))
    expected = clipped / snr if prediction == "epsilon" else clipped / (snr + 1)
    torch.testing.assert_close(ours.min_snr_weight(TIMESTEPS, 5.0), expected)


def test_debiasing_is_the_paper_s_and_the_same_in_terms_of_velocity(base, drawn):
    """An error of ε is ᾱ times the error of v at the same prediction of the image."""
    epsilon, theirs = schedule(base, "epsilon")
    alpha = theirs.alphas_cumprod[TIMESTEPS]
    weight = epsilon.debiased_weight(TIMESTEPS)
    torch.testing.assert_close(weight, ((1 - alpha) / alpha).sqrt())
    torch.testing.assert_close(schedule(base, "v_prediction")[0].debiased_weight(TIMESTEPS), alpha * weight)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_debiasing_where_no_signal_is_left(base, prediction):
    weights = schedule(base, prediction, rescale_betas_zero_snr=True)[0].debiased_weight(torch.arange(1000))
    assert weights.isfinite().all() and (weights >= 0).all()


@pytest.mark.parametrize(("kind", "first", "last"), [("constant", 0.1, 0.1), ("exponential", 1, 0.1), ("snr", 1, 0.1)])
def test_huber_s_delta_falls_as_its_schedule_says(base, kind, first, last):
    deltas = schedule(base, rescale_betas_zero_snr=True)[0].huber_delta(torch.arange(1000), 0.1, kind)
    assert deltas[0].item() == pytest.approx(first, abs=0.06) and deltas[-1].item() == pytest.approx(last, abs=1e-3)
    assert (deltas.diff() <= 0).all() and deltas.isfinite().all()


def test_huber_is_squared_for_small_errors_and_linear_for_large_ones():
    delta = torch.tensor([0.1, 0.1])
    target = torch.zeros(2, 1, 2, 2)
    near, far = huber_error(torch.stack([torch.full((1, 2, 2), 1e-3), torch.full((1, 2, 2), 50.0)]), target, delta)
    assert near.item() == pytest.approx(1e-6, rel=1e-3)
    assert far.item() == pytest.approx(2 * 0.1 * (50 - 0.1), rel=1e-3)


@pytest.mark.parametrize("masked", [False, True])
def test_huber_with_a_large_delta_is_the_squared_error(drawn, masked):
    prediction, target = drawn
    masks = torch.rand(5, 1, 8, 8) if masked else None
    huber = huber_error(prediction, target, torch.full((5,), 1e4), masks)
    torch.testing.assert_close(huber, squared_error(prediction, target, masks), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("prediction", "last"), [("epsilon", 1.0), ("v_prediction", 0.0)])
def test_a_zero_terminal_snr_divides_nothing_by_zero(base, drawn, prediction, last):
    latents, noise = drawn
    ours, _ = schedule(base, prediction, rescale_betas_zero_snr=True)
    assert ours.alphas[999] == 0
    weights = ours.min_snr_weight(torch.arange(1000), 5.0)
    assert weights.isfinite().all() and (weights >= 0).all() and weights[999] == last
    assert torch.equal(ours.noisy(latents, noise, torch.full((5,), 999)), noise)


def test_positions_cover_all_timesteps(base):
    ours, _ = schedule(base)
    positions = torch.arange(1000, dtype=torch.float64) / 1000 + 0.0005
    assert ours.timesteps(positions).tolist() == list(range(1000))
    assert ours.timesteps(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist() == [0, 999]


def test_the_error_is_fp32_and_each_example_s_own():
    prediction = torch.zeros(2, 4, 3, 3, dtype=torch.bfloat16)
    target = torch.stack([torch.full((4, 3, 3), 1.0), torch.full((4, 3, 3), 3.001)])
    error = squared_error(prediction, target)
    assert error.dtype == torch.float32
    torch.testing.assert_close(error, torch.tensor([1.0, 3.001**2]))
