"""LoRAs whose rank is found: what they compute, what a rank is worth, and which ranks are given up."""

import copy

import pytest
import torch
from torch import nn

from sdlora.training.adaptive_rank import RankBudget, penalty
from sdlora.training.layers import Plan, layer_for, updates_from
from sdlora.training.layers.adaptive import first_rank


def made(base, rank=4, path="unet.a"):
    return layer_for(base, Plan(rank, 2.0, adaptive=True, seed=4), path)


@torch.no_grad()
def learned(layer):
    generator = torch.Generator().manual_seed(2)
    for name in ("down", "up", "values"):
        weight = layer.weights[name]
        weight += 0.1 * torch.randn(weight.shape, generator=generator)
    return layer


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_at_first_it_is_the_frozen_layer(base_and_input, dtype):
    base, x = base_and_input[0].to(dtype), base_and_input[1].to(dtype)
    layer = made(base)
    assert torch.equal(layer(x), base(x)) and len(layer.values) == first_rank(4) == 6
    update = layer.as_update()
    assert update.rank == 1 and not update.delta(base.weight).any()


def test_the_ranks_that_are_left_are_a_plain_lora(base_and_input):
    base, x = base_and_input
    layer = learned(made(base))
    layer.keep(torch.tensor([True, False, True, True, False, False]))
    update = layer.as_update()
    assert update.rank == 3 and update.kind in ("LoRA", "LoCon")
    for factor in (1.0, -0.5):
        merged = copy.deepcopy(base)
        with torch.no_grad():
            merged.weight += factor * update.delta(base.weight)
        layer.factor = factor
        torch.testing.assert_close(layer(x), merged(x), rtol=1e-4, atol=1e-5)
    saved = {f"unet.a.{name}": t.detach() for name, t in {**layer.weights, **layer.constants}.items()}
    (again,) = updates_from(saved, Plan(4, 2.0, adaptive=True)).values()
    assert torch.equal(again.delta(base.weight), update.delta(base.weight))


def test_a_rank_is_worth_what_peft_takes_it_for():
    """Sensitivity and uncertainty over several steps, against its own allocator."""
    pytest.importorskip("peft")
    from peft import AdaLoraConfig
    from peft.tuners.adalora.layer import RankAllocator

    torch.manual_seed(3)
    base, x = nn.Linear(10, 7).requires_grad_(False), torch.randn(16, 10)
    layer = learned(made(base))

    class Theirs(nn.Module):
        def __init__(self):
            super().__init__()
            self.lora_A = nn.ParameterDict({"default": layer.down.detach().clone()})
            self.lora_B = nn.ParameterDict({"default": layer.up.detach().clone()})
            self.lora_E = nn.ParameterDict({"default": layer.values.detach().clone()[:, None]})

    theirs = Theirs()
    allocator = RankAllocator(theirs, AdaLoraConfig(init_r=6, target_r=4, total_step=10, tfinal=1), "default")
    for step in range(3):
        layer.zero_grad()
        (layer(x) * (step + 1)).square().mean().backward()
        for part, name in (("lora_A", "down"), ("lora_B", "up"), ("lora_E", "values")):
            grad = layer.weights[name].grad
            getattr(theirs, part)["default"].grad = grad.reshape(getattr(theirs, part)["default"].shape)
        layer.learn_importance()
        allocator.update_ipt(theirs)
    scores = {name: allocator._element_score(name) for name in allocator.ipt}
    expected = scores["lora_E.default"].flatten() + scores["lora_A.default"].mean(1) + scores["lora_B.default"].mean(0)
    torch.testing.assert_close(layer.importance, expected)
    assert layer.importance.min() > 0


def test_what_matters_is_kept_and_the_budget_is_met():
    """Of two modules, the one that the loss depends on keeps its ranks."""
    torch.manual_seed(5)
    layers = [made(nn.Linear(16, 12).requires_grad_(False), rank=4, path=path) for path in ("unet.a", "unet.b")]
    budget, x, target = RankBudget.of(layers, 40), torch.randn(64, 16), torch.randn(64, 12)
    optimiser = torch.optim.Adam([weight for layer in layers for weight in layer.weights.values()], lr=0.02)
    ranks = []
    for step in range(1, 41):
        optimiser.zero_grad()
        (layers[0](x) - target).square().mean().add(1e-4 * layers[1](x).square().mean()).backward()
        optimiser.step()
        budget.after(step)
        ranks.append(sum(int(layer.kept.sum()) for layer in layers))
    assert ranks[0] == 12 and ranks[-1] == 8 and sorted(ranks, reverse=True) == ranks
    assert ranks[:4] == [12] * 4 and ranks[19:] == [8] * 21, "from a tenth to a half of the steps"
    left = [layer.as_update().rank for layer in layers]
    assert left[0] == 6 and left[1] == 2


def test_the_penalty_keeps_triplets_apart_and_shows_nowhere():
    layer = learned(made(nn.Linear(16, 12).requires_grad_(False)))
    assert penalty([layer]).item() == 0
    before = layer.skew().item()
    optimiser = torch.optim.SGD(layer.weights.values(), lr=0.05)
    for _ in range(50):
        optimiser.zero_grad()
        penalty([layer]).backward()
        optimiser.step()
    assert layer.skew().item() < 0.9 * before
    assert layer.values.grad is None or not layer.values.grad.any()


def test_a_step_that_the_loss_scaler_skips_teaches_nothing():
    layer = learned(made(nn.Linear(10, 7).requires_grad_(False)))
    budget = RankBudget([layer], 100)
    for step, scale in ((1, 1.0), (2, float("inf")), (3, 1.0)):
        layer.zero_grad()
        (layer(torch.ones(4, 10)) * scale).square().mean().backward()
        budget.after(step)
    assert layer.importance.isfinite().all() and layer.importance.min() > 0
