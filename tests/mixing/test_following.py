"""Bottleneck adapters in a mix: behind their modules, beside what is merged, gone without a trace."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from sdlora.adapters import Adapter, load_adapter, save_adapter
from sdlora.adapters.algebra import merge, resize
from sdlora.adapters.inspection import inspect
from sdlora.adapters.summary import summarise
from sdlora.adapters.updates import Bottleneck, LoRA
from sdlora.errors import Error
from sdlora.mixing import Mixer

PATH = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0"


def bottleneck(width, seed, rank=4):
    own = torch.Generator().manual_seed(seed)
    shapes = ((rank, width), (rank,), (width, rank), (width,))
    return Bottleneck(*(torch.randn(shape, generator=own) / 4 for shape in shapes))


@pytest.fixture
def module(mini):
    return mini.modules()[PATH]


@pytest.fixture
def adapters(module, tmp_path):
    """Two bottlenecks and a LoRA on one module, in files."""
    out, inputs = module.weight.shape
    lora = LoRA(torch.randn(2, inputs), torch.randn(out, 2), 2.0)
    made = {"a": bottleneck(out, 1), "b": bottleneck(out, 2), "lora": lora}
    return {
        name: str(
            save_adapter(Adapter(name, {PATH: update}, family="sd1"), tmp_path / f"{name}.safetensors", dtype="fp32")
        )
        for name, update in made.items()
    }


def test_outputs_are_those_of_the_equation_behind_what_is_merged(mini, module, adapters):
    x = torch.randn(2, 5, module.weight.shape[1])
    plain = module(x)
    mixer = Mixer(mini)
    mixer.set({adapters["lora"]: 0.5, adapters["a"]: 0.7, adapters["b"]: -0.2})
    lora, a, b = (load_adapter(adapters[name]).updates[PATH] for name in ("lora", "a", "b"))
    y = F.linear(x, module.weight, module.bias)
    assert torch.allclose(y, plain + 0.5 * F.linear(x, lora.delta(module.weight)), atol=1e-4), "merged as ever"
    added = [w * F.linear(F.gelu(F.linear(y, u.down, u.down_bias)), u.up, u.up_bias) for w, u in ((0.7, a), (-0.2, b))]
    assert torch.allclose(module(x), y + added[0] + added[1], atol=1e-4)
    assert not torch.allclose(module(x), y, atol=1e-2)
    mixer.clear()
    assert torch.equal(module(x), plain) and not module._forward_hooks


def test_the_same_mix_gives_the_same_bits_whatever_was_set_before(mini, module, adapters):
    x = torch.randn(2, 5, module.weight.shape[1])
    mixer = Mixer(mini)
    mixer.set({adapters["a"]: 1.0, adapters["lora"]: 0.3})
    once = module(x)
    mixer.set({adapters["b"]: 2.0})
    mixer.set({adapters["lora"]: 0.3, adapters["a"]: 1.0})
    assert torch.equal(module(x), once)
    mixer.clear()


def test_a_file_says_what_it_is_and_holds_it(adapters, module):
    found = load_adapter(adapters["a"])
    assert found.report.complete and isinstance(found.updates[PATH], Bottleneck)
    told = inspect(Path(adapters["a"]))
    assert told.kinds == {"bottleneck": 1} and told.strength is None and "not the weight" in told.strength_missing
    assert not summarise(told.path).problem


def test_it_is_drawn_with(mini, adapters):
    mixer = Mixer(mini)
    recipe = {"seed": 1, "steps": 2, "size": 64}
    plain = mixer.generate("a disc", **recipe)[0].image.tobytes()
    mixer.set({adapters["a"]: 4.0})
    assert mixer.generate("a disc", **recipe)[0].image.tobytes() != plain
    mixer.clear()
    assert mixer.generate("a disc", **recipe)[0].image.tobytes() == plain


def test_what_it_can_t_is_a_sentence(adapters, mini, tmp_path):
    found = load_adapter(adapters["a"])
    for work in (lambda: merge([found], [1.0]), lambda: resize(found, rank=1), lambda: found.updates[PATH].delta(None)):
        with pytest.raises(Error, match="can be drawn with, not merged"):
            work()
    wrong = save_adapter(Adapter("wrong", {PATH: bottleneck(3, 0)}, family="sd1"), tmp_path / "wrong.safetensors")
    with pytest.raises(Error, match="for a linear layer with 3 outputs"):
        Mixer(mini).set({str(wrong): 1.0})
    with pytest.raises(Error, match="do not make a bottleneck"):
        Bottleneck(torch.ones(2, 3), torch.ones(2), torch.ones(2, 3), torch.ones(3))
