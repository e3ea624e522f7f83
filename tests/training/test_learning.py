"""What a training changes: looking at the adapter never changes the training, and a checkpoint holds all of it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sdlora.training.checkpoints import Checkpoint
from sdlora.training.ema import MovingAverage
from sdlora.training.learning import Learning

from .test_optimiser import CPU, LIBRARIES, part_of, settings_of


@settings(max_examples=20, deadline=None)
@given(decay=st.floats(0.01, 0.99), steps=st.integers(1, 40))
def test_the_average_is_the_formula_s(decay, steps):
    weight = torch.zeros(2)
    average, expected = MovingAverage([weight], decay), torch.zeros(2)
    for step in range(1, steps + 1):
        weight += torch.tensor([1.0, -0.5])
        average.update(step)
        now = min(decay, (1 + step) / (10 + step))
        expected = now * expected + (1 - now) * weight
    torch.testing.assert_close(average.values[0], expected)


def learning_of(**changes):
    generator = torch.Generator().manual_seed(1)
    layers = {
        path: part_of(down=torch.randn(4, 2000, generator=generator), up=torch.zeros(3, 4))
        for path in ("unet.a", "text_encoder.b")
    }
    return Learning(layers, settings_of(**changes), CPU)


def learn(learning, steps, look=lambda learning: None):
    """Steps down a bowl, each gradient with a noise that belongs to its step."""
    for step in steps:
        noise = torch.Generator().manual_seed(step)
        for weight in learning.parameters:
            weight.grad = 0.1 * (weight.detach() - 1) + torch.randn(weight.shape, generator=noise)
        learning.optimiser.step()
        learning.stepped(step)
        look(learning)


WAYS = [
    {"ema": 0.9},
    {"optimiser": "schedule-free", "learning_rate": 1e-2},
    {"optimiser": "prodigy", "learning_rate": 1.0, "text_encoder_learning_rate": 1.0, "ema": 0.5},
    {"optimiser": "adamw8bit"},
    {"optimiser": "adafactor", "schedule": "linear"},
    {"optimiser": "lion", "ema": 0.99},
    {"optimiser": "torch.optim.RAdam"},
]


@pytest.fixture(params=WAYS, ids=lambda way: "-".join(map(str, way.values())))
def way(request):
    if request.param.get("optimiser") in LIBRARIES:
        pytest.importorskip(LIBRARIES[request.param["optimiser"]])
    return request.param


def adapter_of(learning):
    with learning.adapter() as adapter:
        return {key: weight.detach().clone() for key, weight in adapter.items()}


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_looking_changes_nothing(way):
    blind, looking = learning_of(**way), learning_of(**way)
    learn(blind, range(1, 8))
    learn(looking, range(1, 8), adapter_of)
    assert same(blind.parameters, looking.parameters)
    assert same(adapter_of(blind).values(), adapter_of(looking).values())


def test_a_checkpoint_holds_all_of_it(way, tmp_path):
    whole, first, second = (learning_of(**way) for _ in range(3))
    learn(whole, range(1, 9))
    learn(first, range(1, 4))
    second.restore(Checkpoint.load(first.checkpoint(3).save(tmp_path)))
    learn(second, range(4, 9))
    assert same(whole.parameters, second.parameters)
    assert same(adapter_of(whole).values(), adapter_of(second).values())
    assert whole.rate == second.rate


def test_a_checkpoint_s_weights_are_the_adapter(way):
    learning = learning_of(**way)
    learn(learning, range(1, 5))
    adapter, weights = adapter_of(learning), learning.checkpoint(4).weights
    assert all(torch.equal(adapter[key], weights[key]) for key in adapter)
    averaged = not same(adapter.values(), learning.parameters)
    assert averaged == bool(way.get("ema") or way.get("optimiser") == "schedule-free")


def test_schedule_free_s_adapter_is_the_library_s_own():
    pytest.importorskip("schedulefree")
    learning = learning_of(**WAYS[1])
    learn(learning, range(1, 6))
    ours = adapter_of(learning)
    learning.optimiser.eval()
    assert same(ours.values(), learning.parameters)


def test_what_is_no_number_is_found_in_the_weights_and_in_their_average():
    learning = learning_of(ema=0.9)
    assert learning.finite()
    with torch.no_grad():
        learning.parameters[0][0, 0] = torch.nan
    assert not learning.finite()
    learn(learning, [1])
    with torch.no_grad():
        learning.parameters[0].zero_()
    assert not learning.finite(), "the average still holds it"
