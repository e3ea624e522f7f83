"""Optimisers by name: what they do, what they need, and the sentences where they can't be had."""

import sys
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sdlora.errors import Error
from sdlora.training.config import TrainConfig
from sdlora.training.layers import Part
from sdlora.training.lion import Lion
from sdlora.training.optimiser import KINDS, kind_of, made, make_optimiser, shown_rate, training_mode
from sdlora.training.rehearsal import rehearse

CPU = torch.device("cpu")
LIBRARIES = {"adamw8bit": "bitsandbytes", "prodigy": "prodigyopt", "schedule-free": "schedulefree"}


def settings_of(**changes):
    """The settings that an optimiser looks at, resolved."""
    values = {
        "name": "disc",
        "images": "discs",
        "learning_rate": 1e-2,
        "text_encoder_learning_rate": 1e-2,
        "weight_decay": 0.0,
        "schedule": "constant",
        "warmup": 0,
        "steps": 10,
    }
    return TrainConfig(**(values | changes))


def part_of(**weights):
    """Something that is trained, with these weights."""
    part = Part()
    for name, weight in weights.items():
        part.register_parameter(name, nn.Parameter(weight))
    return part


def group(weight, rate=1e-2):
    return [{"params": [weight], "lr": rate}]


@settings(max_examples=30, deadline=None)
@given(
    rate=st.floats(1e-4, 1e-1),
    decay=st.floats(0, 0.1),
    first=st.floats(0, 0.99),
    second=st.floats(0, 0.99),
    seed=st.integers(0, 1000),
)
def test_lion_is_the_paper_s(rate, decay, first, second, seed):
    generator = torch.Generator().manual_seed(seed)
    weight = nn.Parameter(torch.randn(3, 4, generator=generator, dtype=torch.float64))
    expected, momentum = weight.detach().clone(), torch.zeros_like(weight)
    lion = Lion([weight], rate, (first, second), decay)
    for _ in range(4):
        weight.grad = torch.randn(3, 4, generator=generator, dtype=torch.float64)
        direction = (first * momentum + (1 - first) * weight.grad).sign()
        expected = expected - rate * (direction + decay * expected)
        momentum = second * momentum + (1 - second) * weight.grad
        lion.step()
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(lion.state[weight]["momentum"], momentum, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [*KINDS, "torch.optim.RAdam"])
def test_each_finds_the_least_of_a_bowl(name):
    if name in LIBRARIES:
        pytest.importorskip(LIBRARIES[name])
    weight = nn.Parameter(torch.zeros(80, 80))  # large enough that 8 bits are used for its state
    rate = 1.0 if name == "prodigy" else 1e-2
    optimiser = made(group(weight, rate), settings_of(optimiser=name, learning_rate=rate), CPU)
    training_mode(optimiser)
    for _ in range(150):
        optimiser.zero_grad()
        (weight - 0.3).square().sum().backward()
        optimiser.step()
    assert (weight - 0.3).abs().mean() < 0.1


def test_adamw_is_fused_unless_another_way_is_asked_for():
    weight = nn.Parameter(torch.zeros(2, 2))
    assert made(group(weight), settings_of(), CPU).defaults["fused"] is True
    assert made(group(weight), settings_of(), torch.device("mps")).defaults["fused"] is False
    other = made(group(weight), settings_of(optimiser_args={"foreach": True}), CPU)
    assert other.defaults["foreach"] is True and not other.defaults["fused"]


def test_arguments_arrive():
    optimiser = made(group(nn.Parameter(torch.zeros(1))), settings_of(optimiser_args={"betas": [0.8, 0.9]}), CPU)
    assert list(optimiser.defaults["betas"]) == [0.8, 0.9]


def test_a_class_by_its_dotted_path_gets_what_it_takes():
    weight = nn.Parameter(torch.zeros(1))
    rprop = made(group(weight, 0.5), settings_of(optimiser="torch.optim.Rprop", weight_decay=0.1), CPU)
    assert isinstance(rprop, torch.optim.Rprop) and rprop.param_groups[0]["lr"] == 0.5
    assert "weight_decay" not in rprop.defaults
    sgd = made(group(weight), settings_of(optimiser="torch.optim.SGD", weight_decay=0.1), CPU)
    assert sgd.defaults["weight_decay"] == 0.1


def test_each_component_has_its_rate():
    layers = {
        path: part_of(down=torch.zeros(1), up=torch.zeros(1))
        for path in ("unet.a", "text_encoder.b", "text_encoder_2.c")
    }
    optimiser = make_optimiser(layers, settings_of(learning_rate=0.2, text_encoder_learning_rate=0.1), CPU)
    assert [(g["lr"], len(g["params"])) for g in optimiser.param_groups] == [(0.2, 2), (0.1, 4)]


def test_rates_by_block_and_for_up():
    names = ("unet.a", "unet.b.c", "unet.b.d", "text_encoder.e")
    parts = {path: part_of(down=torch.zeros(1), up=torch.zeros(1)) for path in names}
    blocks = {"unet.b": 0.5, "unet.b.d": 0.0}
    rates = {"learning_rate": 0.2, "text_encoder_learning_rate": 0.1, "lora_plus": 4.0}
    optimiser = make_optimiser(parts, settings_of(block_learning_rates=blocks, **rates), CPU)
    found = {id(weight): group["lr"] for group in optimiser.param_groups for weight in group["params"]}
    assert [[found[id(w)] for w in part.weights.values()] for part in parts.values()] == [
        [0.2, 0.8],
        [0.5, 2.0],
        [0.0, 0.0],
        [0.1, 0.4],
    ]


def test_prodigy_s_rate_is_the_one_it_found(capsys):
    pytest.importorskip("prodigyopt")
    weight = nn.Parameter(torch.zeros(4))
    optimiser = made(group(weight, 1.0), settings_of(optimiser="prodigy", weight_decay=0.1, learning_rate=1.0), CPU)
    assert shown_rate(optimiser) == optimiser.defaults["d0"]
    for _ in range(20):
        optimiser.zero_grad()
        (weight - 1).square().sum().backward()
        optimiser.step()
    assert shown_rate(optimiser) > optimiser.defaults["d0"]
    assert capsys.readouterr().out == "", "stdout is for results"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"optimiser": "adamm"}, "no optimiser 'adamm': did you mean adamw"),
        ({"optimiser": "quickly"}, "no optimiser 'quickly': use adamw"),
        ({"optimiser": "no.such.Thing"}, "There is no optimiser no.such.Thing"),
        ({"optimiser": "torch.optim.Adamm"}, "There is no optimiser torch.optim.Adamm"),
        ({"optimiser": "torch.nn.Linear"}, "torch.nn.Linear is no optimiser"),
        ({"optimiser": "torch.optim.LBFGS"}, "can't be made|can't make a step"),
        ({"optimiser_args": {"beta": 1}}, "adamw can't be made .*beta.*correct optimiser_args"),
        ({"optimiser_args": {"betas": [2, 3]}}, "adamw can't be made .*correct optimiser_args"),
        ({"optimiser": "lion", "optimiser_args": {"betas": [2, 3]}}, "lion can't be made .*correct optimiser_args"),
        ({"optimiser": "prodigy", "text_encoder_learning_rate": 0.5}, "prodigy has one learning rate for all"),
        ({"optimiser": "schedule-free", "schedule": "cosine"}, "schedule-free needs a constant learning rate"),
        ({"optimiser": "schedule-free", "ema": 0.9}, "schedule-free averages the weights itself"),
        ({"debiased": True, "min_snr_gamma": 5.0}, "two ways to weight the loss"),
        ({"timestep_min": 500, "timestep_max": 500}, "timestep_max = 500 must be more than timestep_min = 500"),
    ],
)
def test_what_can_t_work_is_told_in_a_rehearsal(changes, says):
    with pytest.raises(Error, match=says):
        rehearse(settings_of(**changes), CPU)


@pytest.mark.parametrize("name", KINDS)
def test_what_can_work_passes_it(name):
    if name in LIBRARIES:
        pytest.importorskip(LIBRARIES[name])
    rehearse(settings_of(optimiser=name), CPU)


@pytest.mark.parametrize(("name", "library"), LIBRARIES.items())
def test_a_missing_library_is_a_sentence_with_its_remedy(name, library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setitem(sys.modules, f"{library}.optim", None)
    with pytest.raises(
        Error, match=rf"{name} needs {library}: install it with  pip install 'sdlora\[{kind_of(name).extra}\]'"
    ):
        rehearse(settings_of(optimiser=name), CPU)


class Hoarder(torch.optim.SGD):
    """Keeps what no checkpoint can hold."""

    def step(self, closure=None):
        for g in self.param_groups:
            g["secret"] = object()


def test_a_state_that_can_t_be_written_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "hoarding", SimpleNamespace(Hoarder=Hoarder))
    with pytest.raises(Error, match="keeps a object, which no checkpoint can hold"):
        rehearse(settings_of(optimiser="hoarding.Hoarder"), CPU)
