"""What a training takes is measured before it begins, and it is made to fit; the measurement leaves no trace."""

import pytest
import torch

import sdlora
from sdlora.bases import load_base
from sdlora.bases.random_base import random_base
from sdlora.errors import Error
from sdlora.training.config import TrainConfig, budget_of
from sdlora.training.defaults import resolve
from sdlora.training.material import gather
from sdlora.training.memory_ladder import explicit
from sdlora.training.preflight import Preflight, fitted, largest_bucket
from sdlora.training.run_folder import RunFolder
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


@pytest.fixture(scope="module")
def asked_much(small, tmp_path_factory):
    """A batch of 8 at 256 pixels on a small full-depth base, and what it and the rungs take."""
    config = small(tmp_path_factory.mktemp("ws"), resolution=256, batch_size=8, targets=["attention"])
    base = random_base("sd1", narrow=True)
    settings, material = resolved(config, base)
    preflight = Preflight(base, material, CPU)
    saving = {"gradient_checkpointing": True}
    rungs = ({}, saving, saving | {"batch_size": 1, "gradient_accumulation": 8})
    needs = [preflight.need(settings.model_copy(update=rung)) for rung in rungs]
    return config, base, settings, material, needs


def within(budget, asked_much, **changes):
    config, base, settings, material, _ = asked_much
    limited = settings.model_copy(update={"memory": f"{budget >> 20}MB", **changes})
    return fitted(limited, given(config) | set(changes), base, material, CPU)


def test_the_first_rung_that_fits_is_taken(asked_much):
    needs = asked_much[-1]
    assert needs[0] > 1.2 * needs[1] > 1.2 * needs[2], "each of these rungs saves a good deal here"
    enough = within(int(1.3 * needs[0]), asked_much)
    assert enough.choices == [] and len(enough.notes) == 1
    first = within(int(1.15 * needs[1]), asked_much)
    assert first.config.gradient_checkpointing and first.config.batch_size == 8
    assert "a third more time" in first.choices[0].reason and "gradient_checkpointing = true" in first.notes[1]


def test_a_batch_is_taken_in_parts_though_it_was_asked_for(asked_much):
    fit = within(int(1.15 * asked_much[-1][2]), asked_much)
    assert (fit.config.batch_size, fit.config.gradient_accumulation) == (1, 8)
    assert any("not optimiser = adamw8bit: " in note for note in fit.notes), "and why another rung was not taken"


def test_what_was_asked_for_is_not_overridden(asked_much):
    budget = int(1.15 * asked_much[-1][2])
    with pytest.raises(Error, match=r"takes .* that it may take.*lower resolution.*memory = .*MB is the limit"):
        within(budget // 2, asked_much, gradient_checkpointing=False)
    fit = within(int(1.3 * asked_much[-1][0]) // 2, asked_much, gradient_checkpointing=False, optimiser="adamw")
    assert not fit.config.gradient_checkpointing and fit.config.batch_size == 1
    assert "memory: not gradient_checkpointing = true: gradient_checkpointing = false was asked for" in fit.notes


def test_a_run_within_a_budget_writes_down_what_it_chose_and_is_resumed_with_it(small, tmp_path, asked_much):
    """mini's own weights hardly matter beside Python's: the budget is set by what is measured here."""
    config = small(tmp_path, resolution=256, batch_size=8, steps=2, checkpoint_every=1, targets=["attention"])
    base = load_base("mini")
    settings, material = resolved(config, base)
    need = Preflight(base, material, CPU).need(settings.model_copy(update={"gradient_checkpointing": True}))
    limited = config.model_copy(update={"memory": f"{int(1.3 * need) >> 20}MB"})
    run = RunFolder(sdlora.train(limited, quiet=True).folder)
    chosen = run.config()
    assert chosen.gradient_checkpointing or chosen.batch_size == 1
    run.write_status("stopped", 1, 2)
    (run.checkpoints / "step-000002.safetensors").unlink()
    assert sdlora.train(limited, resume="disc", quiet=True).state == "finished"
    assert run.config() == chosen


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
