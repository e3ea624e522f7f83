"""Learning rates over the steps: diffusers' own curves, with their arguments."""

import pytest
import torch
from diffusers.optimization import get_scheduler
from torch import nn

from sdlora.errors import Error
from sdlora.training.config import TrainConfig
from sdlora.training.learning_rate import make_schedule

STEPS, WARMUP, RATE = 20, 4, 1e-2


def rates(make):
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=RATE)
    schedule, found = make(optimiser), []
    for _ in range(STEPS):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return found


def ours(schedule, warmup=WARMUP, **arguments):
    config = TrainConfig(
        name="disc", images="discs", schedule=schedule, schedule_args=arguments, warmup=warmup, steps=STEPS
    )
    return rates(lambda optimiser: make_schedule(optimiser, config))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("linear", {}),
        ("cosine", {}),
        ("cosine_with_restarts", {"num_cycles": 3}),
        ("polynomial", {"power": 2.0}),
        ("constant_with_warmup", {}),
    ],
)
def test_each_is_diffusers_(name, arguments):
    theirs = rates(lambda o: get_scheduler(name, o, num_warmup_steps=WARMUP, num_training_steps=STEPS, **arguments))
    assert ours(name, **arguments) == theirs
    assert len(set(theirs)) > 3


def test_piecewise_constant():
    assert ours("piecewise_constant", 0, step_rules="1:5,0.5:10,0.1") == [RATE] * 5 + [RATE / 2] * 5 + [RATE * 0.1] * 10


def test_constant_has_the_warm_up_that_is_asked_for():
    assert ours("constant", 0) == [RATE] * STEPS
    assert ours("constant", 2)[:3] == [0, RATE / 2, RATE]


def test_arguments_that_diffusers_own_chooser_keeps_back():
    assert min(ours("linear", f_min=0.5)[WARMUP:]) >= RATE / 2
    assert ours("polynomial", lr_end=1e-3)[-1] > 1e-3
    assert ours("cosine", num_cycles=1.0)[12] == pytest.approx(0)


@pytest.mark.parametrize(
    ("name", "arguments", "warmup", "says"),
    [
        ("cosine", {"cycles": 3}, 0, "cosine has no argument 'cycles': it takes num_cycles"),
        ("constant", {"power": 3}, 0, "constant has no argument 'power': it takes none"),
        ("piecewise_constant", {}, 0, "piecewise_constant needs step_rules"),
        ("piecewise_constant", {"step_rules": "1:5,0.5"}, 3, "has no warm-up: set warmup = 0"),
        ("piecewise_constant", {"step_rules": "often"}, 0, "can't be made"),
        ("piecewise_constant", {"step_rules": 5}, 0, "can't be made"),
        ("polynomial", {"lr_end": 1.0}, 0, "can't be made .*lr_end"),
        ("polynomial", {}, STEPS, "can't be made .*warmup"),
        ("cosine", {"num_cycles": "three"}, 0, "can't be made .*schedule_args"),
    ],
)
def test_mistakes_are_sentences(name, arguments, warmup, says):
    with pytest.raises(Error, match=says):
        ours(name, warmup, **arguments)
