"""What a training takes is measured before it begins, and it is made to fit; the measurement leaves no trace."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import sdlora
from sdlora.bases import load_base
from sdlora.errors import Error
from sdlora.training.config import TrainConfig
from sdlora.training.config_values import budget_of
from sdlora.training.defaults import resolve
from sdlora.training.material import gather
from sdlora.training.memory_ladder import explicit
from sdlora.training.preflight import Preflight, largest_bucket
from tests.second_device import DEVICE, second_device
from tests.training.conftest import draw_images

CPU = torch.device("cpu")


@pytest.fixture
def own_mini():
    """A base that may be made ready for training."""
    return load_base("mini")


def resolved(config, base):
    material = gather(config)
    return resolve(config, base, material, CPU, 1)[0], material


def given(config):
    return explicit(config.model_dump(include=config.model_fields_set))


def learned(run):
    return sdlora.load_adapter(run.adapter_path).updates


@pytest.mark.parametrize("changes", [{}, {"dropout": 0.2, "trigger": "wug", "prior_preservation": 1.0}])
def test_the_measurement_changes_no_bit(small, tmp_path, changes):
    state = torch.get_rng_state()
    measured = learned(sdlora.train(small(tmp_path / "a", memory="auto", **changes), quiet=True))
    assert torch.equal(torch.get_rng_state(), state), "nobody's random numbers were taken"
    plain = learned(sdlora.train(small(tmp_path / "b", memory="off", **changes), quiet=True))
    assert measured.keys() == plain.keys()
    assert all(torch.equal(measured[p].up, plain[p].up) and torch.equal(measured[p].down, plain[p].down) for p in plain)


def test_the_base_has_no_layers_left_in_it(small, tmp_path, own_mini):
    config, material = resolved(small(tmp_path), own_mini)
    before = list(own_mini.modules())
    assert Preflight(own_mini, material, CPU).need(config) > 0
    assert list(own_mini.modules()) == before
    assert not own_mini.unet.training and not any(p.requires_grad for p in own_mini.unet.parameters())


def test_a_larger_step_is_seen_to_take_more(small, tmp_path, own_mini):
    config, material = resolved(small(tmp_path, resolution=256, targets=["attention"]), own_mini)
    preflight = Preflight(own_mini, material, CPU)
    needs = [preflight.need(config.model_copy(update=c)) for c in ({}, {"batch_size": 12}, {"batch_size": 4})]
    assert preflight.size == (256, 256)
    assert needs[0] < needs[2] < needs[1]


def test_the_largest_bucket_is_that_of_the_images(small, tmp_path, own_mini):
    draw_images(tmp_path / "wide", ("red",), 128)
    config, material = resolved(small(tmp_path, images=tmp_path / "wide", resolution=128, upscale=False), own_mini)
    assert largest_bucket(config, material) == (128, 128)
    more = config.model_copy(update={"more_resolutions": [192]})
    assert largest_bucket(more, material) == (128, 128), "nothing is enlarged"
    assert largest_bucket(more.model_copy(update={"upscale": True}), material) == (192, 192)


@pytest.mark.slow
def test_runs_are_made_to_fit_into_a_budget():
    """In a process of its own, see there."""
    file = Path(__file__).with_name("within_budgets.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
    answer = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, encoding="utf-8", check=False)
    assert answer.returncode == 0 and "4 passed" in answer.stdout, answer.stdout


def test_too_little_is_told_before_a_run_begins(small, tmp_path):
    with pytest.raises(Error, match="memory = 10MB is the limit"):
        sdlora.train(small(tmp_path, memory="10MB"), quiet=True)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "size"), [("6GB", 6 << 30), ("1.5 GiB", 3 << 29), ("500mb", 500 << 20), ("auto", None), ("off", None)]
)
def test_sizes(text, size):
    assert budget_of(TrainConfig(name="a", images="b", memory=text).memory) == size


@pytest.mark.parametrize("text", ["6", "GB", "6TB", "-1GB", ""])
def test_what_is_no_size(text):
    with pytest.raises(Error, match="give auto, off, or a size such as 6GB"):
        TrainConfig(name="a", images="b", memory=text)


@pytest.mark.parametrize(("targets", "where"), [(["attention"], "cpu"), (["text_attention"], DEVICE.type)])
def test_frozen_encoders_take_no_memory_beside_the_step(targets, where, small, tmp_path, own_mini):
    config, material = resolved(small(tmp_path, targets=targets, trigger="wug"), own_mini)
    with second_device() as device, Preflight(own_mini, material, device)._ready(config) as (step, _):
        with torch.no_grad():  # this device has no way back
            loss = step._objective.loss(step._denoiser, range(config.batch_size))
        assert loss.device == own_mini.unet.device == device
        assert {p.device.type for encoder in own_mini.text_encoders for p in encoder.parameters()} == {where}
