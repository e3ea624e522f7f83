"""The base in 8 bits can be trained through, where torchao is installed."""

import pytest
import torch
from torch import nn

import sdlora
from sdlora.bases import load_base
from sdlora.errors import Error
from sdlora.training import quantised
from sdlora.training.run_folder import RunFolder

CPU = torch.device("cpu")


@pytest.fixture
def torchao():
    pytest.importorskip("torchao")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_outputs_and_gradients_are_off_by_a_hundredth_at_most(torchao, dtype):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(320, 1280), nn.GELU(), nn.Linear(1280, 320)).to(dtype).requires_grad_(False)
    x = torch.randn(2, 64, 320, dtype=dtype, requires_grad=True)

    def both():
        y = network(x)
        return y.detach(), torch.autograd.grad(y.float().square().sum(), x)[0]

    expected, saved = both(), quantised.saved_bytes(network)
    assert saved == 2 * 320 * 1280 * (dtype.itemsize - 1)
    quantised.quantise(network)
    for got, wanted in zip(both(), expected, strict=True):
        assert 0 < (got - wanted).norm() < 0.02 * wanted.norm()
    assert quantised.saved_bytes(network) == 0
    weight = network[0].weight
    quantised.quantise(network)
    assert network[0].weight is weight, "once is enough"
    assert quantised.obstacle(CPU, dtype) is None


def test_a_run_learns_on_it_and_is_resumed_bit_for_bit(torchao, small, tmp_path):
    settings = {"quantised": True, "steps": 4, "checkpoint_every": 2}
    plain = sdlora.train(small(tmp_path / "plain", **(settings | {"quantised": False})), quiet=True)
    run = sdlora.train(small(tmp_path, **settings), quiet=True)
    losses = [[row["loss"] for row in RunFolder(r.folder).metrics() if "loss" in row] for r in (plain, run)]
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], rel=0.05)
    whole = sdlora.load_adapter(run.adapter_path).updates
    folder = RunFolder(run.folder)
    (folder.checkpoints / "step-000004.safetensors").unlink()
    folder.write_status("stopped", 2, 4)
    again = sdlora.load_adapter(
        sdlora.train(small(tmp_path, **settings), resume="disc", quiet=True).adapter_path
    ).updates
    assert all(torch.equal(again[path].up, whole[path].up) for path in whole)


def test_without_torchao_it_says_how_to_get_it(monkeypatch, small, tmp_path):
    monkeypatch.setattr(quantised, "find_spec", lambda name: None)
    assert "torchao is not installed" in quantised.obstacle(CPU, torch.float32)
    with pytest.raises(Error, match=r"quantised = true needs torchao.*sdlora\[quant\]"):
        quantised.quantise(load_base("mini").unet)
    with pytest.raises(Error, match="quantised = true can't be: torchao is not installed"):
        sdlora.train(small(tmp_path, quantised=True), quiet=True)
    assert not (tmp_path / "runs").exists(), "told before a run begins"
