"""Checkpoints: everything comes back as it was, from a file without pickle."""

import pytest
import torch
from torch import nn

from sdlora.errors import Error
from sdlora.training.checkpoints import Checkpoint


@pytest.fixture
def states():
    parameters = [nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(4).double())]
    optimiser = torch.optim.AdamW([{"params": parameters[:1], "lr": 1e-3}, {"params": parameters[1:], "lr": 0.1}])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 / (step + 3))
    for _ in range(3):
        sum(p.float().square().sum() for p in parameters).backward()
        optimiser.step()
        schedule.step()
    return {"optimizer": optimiser.state_dict(), "schedule": schedule.state_dict()}


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b) and a.dtype == b.dtype
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def test_round_trip(tmp_path, states):
    weights = {"unet.a.down": torch.randn(2, 3), "unet.a.up": torch.randn(4, 2, 1, 1)}
    path = Checkpoint(120, weights, states).save(tmp_path)
    assert path.name == "step-000120.safetensors"
    back = Checkpoint.load(path)
    assert back.step == 120 and same(dict(back.weights), weights) and same(back.states, states)


def test_channels_last_weights_come_back_with_their_values(tmp_path, states):
    weights = {"up": torch.randn(4, 2, 3, 3).to(memory_format=torch.channels_last)}
    assert torch.equal(Checkpoint.load(Checkpoint(1, weights, states).save(tmp_path)).weights["up"], weights["up"])


def test_the_newest_is_the_one_with_the_most_steps(tmp_path):
    assert Checkpoint.newest(tmp_path) is None and Checkpoint.newest_step(tmp_path) is None
    for step in (999_999, 1_000_000, 20):
        Checkpoint(step, {"a": torch.ones(1)}, {}).save(tmp_path)
    (tmp_path / ".step-2000000.safetensors.x.tmp").write_bytes(b"half")
    newest = Checkpoint.newest(tmp_path)
    assert newest is not None and newest.step == Checkpoint.newest_step(tmp_path) == 1_000_000


def test_only_the_newest_are_kept(tmp_path):
    for step in (999_999, 1_000_000, 20, 30):
        Checkpoint(step, {"a": torch.ones(1)}, {}).save(tmp_path)
    Checkpoint.prune(tmp_path, keep=5)
    assert len(list(tmp_path.iterdir())) == 4
    Checkpoint.prune(tmp_path, keep=2)
    assert {file.name for file in tmp_path.iterdir()} == {"step-999999.safetensors", "step-1000000.safetensors"}


@pytest.mark.parametrize("damage", [lambda data: data[:100], lambda data: b"", lambda data: data[:-4]])
def test_a_damaged_one_is_a_sentence(tmp_path, states, damage):
    path = Checkpoint(7, {"a": torch.ones(100)}, states).save(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(Error, match=r"step-000007\.safetensors can't be read.*delete it"):
        Checkpoint.newest(tmp_path)
