"""The base in 8 and 4 bits can be trained through and mixed into, where torchao is installed."""

import numpy as np
import pytest
import torch
from torch import nn

import sdlora
from sdlora.adapters import Adapter, LoRA
from sdlora.bases import load_base
from sdlora.bases.dequantised import dequantised
from sdlora.errors import Error
from sdlora.training import quantised, rounded_linear
from sdlora.training.run_folder import RunFolder

CPU = torch.device("cpu")


@pytest.fixture
def torchao():
    pytest.importorskip("torchao")


@pytest.mark.parametrize(("how", "off"), [("8bit", 0.02), ("4bit", 0.2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_outputs_and_gradients_are_little_off(torchao, how, off, dtype):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(320, 1280), nn.GELU(), nn.Linear(1280, 320)).to(dtype).requires_grad_(False)
    x = torch.randn(2, 64, 320, dtype=dtype, requires_grad=True)

    def both():
        y = network(x)
        return y.detach(), torch.autograd.grad(y.float().square().sum(), x)[0]

    expected, saved = both(), quantised.saved_bytes(network, how)
    assert saved == 2 * 320 * 1280 * (dtype.itemsize - quantised.BITS[how] / 8)
    quantised.quantise(network, how)
    for got, wanted in zip(both(), expected, strict=True):
        assert off / 20 < (got - wanted).norm() / wanted.norm() < off
    assert quantised.saved_bytes(network, how) == 0 and quantised.is_quantised(network)
    weight = network[0].weight
    quantised.quantise(network, how)
    assert network[0].weight is weight, "once is enough"
    assert quantised.obstacle(how, CPU, dtype) is None


@pytest.mark.parametrize("how", ["8bit", "4bit"])
@pytest.mark.parametrize("part", [1 << 21, 3000])
@pytest.mark.parametrize(("inputs", "outputs"), [(320, 128), (96, 64), (24, 64)])
def test_the_product_is_that_of_the_weights_which_the_bits_stand_for(torchao, monkeypatch, how, part, inputs, outputs):
    """Whole or in parts, where a block of 64 weights ends within a row or not."""
    monkeypatch.setattr(rounded_linear, "PART", part)
    torch.manual_seed(0)
    layer = nn.Linear(inputs, outputs).requires_grad_(False)
    quantised.quantise(layer, how)
    weight = dequantised(layer.weight)
    x = torch.randn(2, 5, inputs, requires_grad=True)
    out, expected = layer(x), nn.functional.linear(x, weight, layer.bias)
    torch.testing.assert_close(out, expected)
    along = torch.randn_like(out)
    got, wanted = (torch.autograd.grad(y, x, along)[0] for y in (out, expected))
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("how", ["8bit", "4bit"])
def test_no_whole_weight_is_kept_for_the_backward_pass(torchao, how):
    kept = []

    def keep(tensor):
        kept.append(tensor.numel())
        return tensor

    layer = nn.Linear(256, 512).requires_grad_(False)
    quantised.quantise(layer, how)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        layer(torch.randn(2, 256, requires_grad=True)).square().sum().backward()
    assert kept and max(kept) < 256 * 512


def test_four_bits_are_the_same_ones_whether_8_came_before_or_not(torchao):
    torch.manual_seed(0)
    at_once = nn.Sequential(nn.Linear(64, 256)).requires_grad_(False)
    in_between = nn.Sequential(nn.Linear(64, 256)).requires_grad_(False)
    in_between.load_state_dict(at_once.state_dict())
    quantised.quantise(at_once, "4bit")
    quantised.quantise(in_between, "8bit")
    quantised.quantise(in_between, "4bit")
    assert torch.equal(dequantised(at_once[0].weight), dequantised(in_between[0].weight))
    assert quantised.BITS["4bit"] < 4.2


def test_an_adapter_is_mixed_exactly_into_four_bits(torchao, tmp_path, mini):
    """As into a plain base that has the weights which the four bits stand for."""
    path, some = tmp_path / "ink.safetensors", "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    out, inputs = mini.modules()[some].weight.shape
    torch.manual_seed(0)
    update = LoRA(torch.randn(4, inputs), torch.randn(out, 4) / 4, 4.0)
    sdlora.save_adapter(Adapter("ink", {some: update}, family="sd1"), path)
    four, plain = load_base("mini"), load_base("mini")
    quantised.quantise(four.unet, "4bit")
    seen = four.modules()
    for module_path, module in plain.modules().items():
        if (told := dequantised(getattr(seen[module_path], "weight", None))) is not None:
            module.weight.data = told
    recipe = {"seed": 3, "steps": 3, "size": 64}
    drawn = []
    for base in (four, plain):
        mixer = sdlora.Mixer(base)
        mixer.set({str(path): 0.8})
        drawn.append(np.asarray(mixer.generate("a red disc", **recipe)[0].image, dtype=int))
    assert np.abs(drawn[0] - drawn[1]).max() <= 1
    mixer = sdlora.Mixer(mini)
    assert np.abs(drawn[0] - np.asarray(mixer.generate("a red disc", **recipe)[0].image, dtype=int)).max() > 1


@pytest.mark.parametrize("how", ["8bit", "4bit"])
def test_a_run_learns_on_it_and_is_resumed_bit_for_bit(torchao, small, tmp_path, how):
    settings = {"quantised": how, "steps": 4, "checkpoint_every": 2}
    plain = sdlora.train(small(tmp_path / "plain", **(settings | {"quantised": "off"})), quiet=True)
    run = sdlora.train(small(tmp_path, **settings), quiet=True)
    losses = [[row["loss"] for row in RunFolder(r.folder).metrics() if "loss" in row] for r in (plain, run)]
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], rel=0.1)
    whole = sdlora.load_adapter(run.adapter_path).updates
    folder = RunFolder(run.folder)
    (folder.checkpoints / "step-000004.safetensors").unlink()
    folder.write_status("stopped", 2, 4)
    again = sdlora.load_adapter(
        sdlora.train(small(tmp_path, **settings), resume="disc", quiet=True).adapter_path
    ).updates
    assert all(torch.equal(again[path].up, whole[path].up) for path in whole)


def test_true_and_false_are_still_understood(small, tmp_path):
    for before, now in ((True, "8bit"), ("true", "8bit"), (False, "off"), ("4bit", "4bit")):
        assert small(tmp_path, quantised=before).quantised == now


def test_without_torchao_it_says_how_to_get_it(monkeypatch, small, tmp_path):
    monkeypatch.setattr(quantised, "find_spec", lambda name: None)
    assert "torchao is not installed" in quantised.obstacle("8bit", CPU, torch.float32)
    with pytest.raises(Error, match=r"quantised = 8bit needs torchao.*sdlora\[quant\]"):
        quantised.quantise(load_base("mini").unet, "8bit")
    with pytest.raises(Error, match="quantised = 4bit can't be: torchao is not installed"):
        sdlora.train(small(tmp_path, quantised="4bit"), quiet=True)
    assert not (tmp_path / "runs").exists(), "told before a run begins"
