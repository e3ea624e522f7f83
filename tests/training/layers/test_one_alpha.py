"""A file whose ranks differ has one alpha all the same, and the same changes."""

import pytest
import torch
from torch import nn

from sdlora.training.layers import Plan, layer_for, of_one_alpha, updates_from


def direction(update):
    return getattr(update, "direction", update)


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_ranks_by_block_leave_one_alpha_and_the_changes(kind):
    plan = Plan(8, 4.0, kind=kind, block_ranks={"unet.b": 2, "unet.c": 3})
    base = nn.Linear(12, 10).requires_grad_(False)
    layers = {path: layer_for(base, plan, path) for path in ("unet.a", "unet.a2", "unet.b", "unet.c")}
    for layer in layers.values():
        nn.init.normal_(layer.up)
    own = {path: layer.as_update() for path, layer in layers.items()}
    assert len({direction(update).alpha for update in own.values()}) == 3
    saved = of_one_alpha(own)
    assert {direction(update).alpha for update in saved.values()} == {4.0}
    for path, update in own.items():
        torch.testing.assert_close(saved[path].delta(base.weight), update.delta(base.weight), rtol=1e-6, atol=1e-7)
    checkpoint = {f"{path}.{name}": w.detach() for path, layer in layers.items() for name, w in layer.weights.items()}
    again = updates_from(checkpoint, plan)
    assert all(torch.equal(direction(again[path]).up, direction(saved[path]).up) for path in saved)


def test_where_alphas_are_alike_nothing_is_touched():
    plan = Plan(4, 4.0)
    layer = layer_for(nn.Linear(6, 5).requires_grad_(False), plan, "unet.a")
    update = layer.as_update()
    assert of_one_alpha({"unet.a": update})["unet.a"] is update
