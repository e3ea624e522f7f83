"""Dropout of an example does not depend on which others are in its batch."""

import torch
from torch import nn

from sdlora.training.example_dropout import ExampleDropout

from .layers.test_lora import made


def dropped(examples, x, share=0.5, key=(1, "unet.a")):
    dropout = ExampleDropout(share, key)
    dropout.examples = examples
    return dropout(x)


def test_splits_do_not_matter():
    x = torch.randn(4, 5, 6)
    whole = dropped(range(10, 14), x)
    parts = [dropped(range(start, start + 2), x[start - 10 : start - 8]) for start in (10, 12)]
    assert torch.equal(whole, torch.cat(parts))


def test_the_share_and_the_scale():
    x = torch.ones(8, 50, 50)
    out = dropped(range(8), x, share=0.3)
    assert 0.28 < (out == 0).float().mean() < 0.32 and abs(out.mean() - 1) < 0.03
    assert set(out.unique().tolist()) == {0.0, torch.tensor(1 / 0.7).item()}


def test_examples_layers_and_seeds_differ_and_nothing_else_does():
    x = torch.ones(1, 100)
    first = dropped([3], x)
    torch.manual_seed(5)
    assert torch.equal(first, dropped([3], x))
    for other in (
        dropped([4], x),
        dropped([("prior", 3)], x),
        dropped([3], x, key=(1, "unet.b")),
        dropped([3], x, key=(2, "unet.a")),
    ):
        assert not torch.equal(first, other)


def test_the_dtype_stays():
    assert dropped([0], torch.ones(1, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_a_layer_drops_in_training_alone():
    layer = made(nn.Linear(200, 7), dropout=0.5)
    nn.init.normal_(layer.up)
    x = torch.randn(3, 200)
    layer.dropout.examples = [0, 1, 2]
    trained = layer.train()(x)
    layer.dropout.examples = [3, 4, 5]
    assert not torch.equal(trained, layer(x))
    assert torch.equal(layer.eval()(x), layer(x)) and not torch.equal(layer(x), trained)
