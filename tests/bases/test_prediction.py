"""What the UNet predicts: said by the user, by the file, or found by one step."""

import copy

import pytest
import torch
from torch import nn

from sdlora.bases import load_base
from sdlora.bases.prediction import probe, stated_in_file
from sdlora.errors import Error
from tests.bases.written import narrow, write_single_file


class _Answers(nn.Module):
    """Rewrites a network's output, as the base's UNet calls it."""

    def __init__(self, unet, change):
        super().__init__()
        self.unet, self.change = unet, change
        self.config, self.dtype, self.device = unet.config, unet.dtype, unet.device

    def forward(self, sample, *args, **kwargs):
        output = self.unet(sample, *args, **kwargs)
        output.sample = self.change(sample, output.sample)
        return output


def test_probe_on_an_epsilon_model_and_on_its_v_twin():
    base = load_base("mini")
    assert probe(base).type == "epsilon"
    alpha = 0.0047**0.5  # √ᾱ at the last timestep of the scaled-linear schedule
    base.unet = _Answers(base.unet, lambda x, epsilon: (epsilon - (1 - alpha**2) ** 0.5 * x) / alpha)
    assert probe(base).type == "v_prediction"


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_probe_runs_on_every_family(family):
    """An untrained UNet's answer has nothing to do with the noise, which the docstring says looks like v."""
    found = probe(narrow(family))
    assert found.type == "v_prediction" and "probe" in found.reason


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_probe_leaves_the_weights_as_they_are(dtype):
    """Also where this CPU is slow in their precision, and computes in another."""
    base = copy.deepcopy(narrow("sd1")).to(dtype=dtype)
    before = {key: weight.clone() for key, weight in base.unet.state_dict().items()}
    assert probe(base).type == "v_prediction"
    after = base.unet.state_dict()
    assert all(after[key].dtype == dtype and torch.equal(after[key], weight) for key, weight in before.items())


@pytest.fixture(scope="module")
def sd1():
    return narrow("sd1")


def test_keys(sd1, tmp_path):
    extra = {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    base = load_base(write_single_file(sd1, tmp_path / "v.safetensors", extra=extra))
    assert base.prediction_type == "v_prediction" and "v_pred" in base.prediction_reason
    assert base.scheduler_config["prediction_type"] == "v_prediction"
    assert base.scheduler_config["rescale_betas_zero_snr"] and base.scheduler_config["timestep_spacing"] == "trailing"


@pytest.mark.parametrize(("stated", "expected"), [("v", "v_prediction"), ("epsilon", "epsilon")])
def test_metadata(sd1, tmp_path, stated, expected):
    file = write_single_file(sd1, tmp_path / "m.safetensors", metadata={"modelspec.prediction_type": stated})
    base = load_base(file)
    assert base.prediction_type == expected and "modelspec" in base.prediction_reason
    assert "rescale_betas_zero_snr" not in base.scheduler_config


def test_the_users_word_wins(sd1, tmp_path):
    file = write_single_file(sd1, tmp_path / "v.safetensors", extra={"v_pred": torch.zeros(0)})
    base = load_base(file, prediction_type="epsilon")
    assert base.prediction_type == "epsilon" and "asked" in base.prediction_reason


def test_nothing_stated_means_a_probe(sd1, tmp_path):
    assert stated_in_file([], {}) is None
    base = load_base(write_single_file(sd1, tmp_path / "plain.safetensors"))
    assert "probe" in base.prediction_reason


def test_a_wrong_word_is_one_sentence():
    with pytest.raises(Error, match="epsilon or v_prediction"):
        load_base("mini", prediction_type="v")


def test_a_zero_terminal_snr_is_for_bases_that_predict_v():
    base = load_base("mini", prediction_type="v_prediction", zero_terminal_snr=True)
    assert base.scheduler_config["rescale_betas_zero_snr"] and base.scheduler_config["timestep_spacing"] == "trailing"
    assert not load_base("mini", zero_terminal_snr=False).scheduler_config["rescale_betas_zero_snr"]
    with pytest.raises(Error, match=r"zero_terminal_snr needs a base that predicts v, and mini predicts the noise"):
        load_base("mini", zero_terminal_snr=True)
