"""Runs that are made to fit into a budget. `test_preflight` runs this file in a process of its own: in one that holds
much else, a rung saves too small a share of it."""

import pytest

import sdlora
from sdlora.bases import load_base
from sdlora.bases.random_base import random_base
from sdlora.errors import Error
from sdlora.training.preflight import Preflight, fitted
from sdlora.training.run_folder import RunFolder
from tests.training.test_preflight import CPU, given, resolved


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
