"""The held-out loss: the same draws for whoever is measured."""

import pytest
import torch

from sdlora.data.folder import read_folder
from sdlora.data.latents import Viewing
from sdlora.training.holdout import NOISES, TIMESTEPS, Holdout
from sdlora.training.injection import eject, inject
from sdlora.training.layers import Plan
from sdlora.training.loss import Denoiser
from sdlora.training.targets import select

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def examples(images):
    return read_folder(images.parent / "holdout").examples


def made(mini, examples, seed=0, encoder_trains=True):
    return Holdout(mini, examples, Viewing.square(64), seed=seed, encoder_trains=encoder_trains)


class Recorder:
    """A predictor that keeps what it is asked and answers zeros."""

    def __init__(self):
        self.asked = []

    def __call__(self, noisy, timesteps, prompts):
        self.asked.append((noisy, timesteps, *prompts.texts))
        return torch.zeros_like(noisy)

    def all(self):
        return [torch.cat(parts) for parts in zip(*self.asked, strict=True)]


def asked(holdout):
    recorder = Recorder()
    return holdout.measure(recorder, CPU), recorder.all()


def test_every_draw_is_the_same_each_time(mini, examples):
    first_loss, first = asked(made(mini, examples))
    loss, draws = asked(made(mini, examples))
    assert all(torch.equal(a, b) for a, b in zip(first, draws, strict=True)) and loss == first_loss


def test_timesteps_are_stratified_and_noises_differ(mini, examples):
    holdout = made(mini, examples)
    _, (noisy, timesteps, _) = asked(holdout)
    assert holdout.draws == len(examples) * TIMESTEPS * NOISES == len(noisy)
    for own in timesteps.view(len(examples), TIMESTEPS, NOISES):
        assert (own // 100)[:, 0].tolist() == list(range(10)) and (own == own[:, :1]).all()
    assert len({tuple(n.flatten().tolist()) for n in noisy}) == len(noisy)


def test_an_image_s_draws_follow_from_its_content(mini, examples):
    _, (noisy, timesteps, _) = asked(made(mini, examples))
    _, (turned, turned_steps, _) = asked(made(mini, examples[::-1]))
    half = len(noisy) // 2
    assert torch.equal(noisy[:half], turned[half:]) and torch.equal(timesteps[half:], turned_steps[:half])


def test_the_seed_changes_them(mini, examples):
    assert not torch.equal(asked(made(mini, examples))[1][0], asked(made(mini, examples, seed=1))[1][0])


def test_the_loss_is_the_mean_over_bands_and_that_of_zero_the_noise_s_power(mini, examples):
    result, _ = asked(made(mini, examples))
    assert result.loss == pytest.approx(sum(result.bands) / 10) and len(result.bands) == 10
    assert result.loss == pytest.approx(1.0, abs=0.03)


def test_a_zero_adapter_measures_as_the_base_does(mini, examples):
    holdout = made(mini, examples)
    denoiser = Denoiser(mini).eval()
    before = holdout.measure(denoiser, CPU)
    layers = inject(mini, select(mini.modules(), ["attention", "text_attention"]), Plan(rank=2, alpha=2.0))
    during = holdout.measure(denoiser, CPU)
    eject(mini, layers)
    assert before == during and 0 < before.loss < 1


def test_prompts_encoded_before_or_during_are_the_same(mini, examples):
    _, (_, _, tokens) = asked(made(mini, examples))
    _, (_, _, encoded) = asked(made(mini, examples, encoder_trains=False))
    with torch.no_grad():
        torch.testing.assert_close(mini.text_encoders[0](tokens).last_hidden_state, encoded, rtol=1e-4, atol=1e-5)
