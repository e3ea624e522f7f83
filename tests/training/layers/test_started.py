"""LoRAs that start at a part of the frozen weight: the frozen layer at first, PEFT's training, a plain LoRA at last."""

import copy

import pytest
import torch
from torch import nn

from sdlora.errors import Error
from sdlora.training.layers import Plan, layer_for, updates_from

PEFT_NAMES = {"pissa": "pissa", "orthogonal": "olora"}


@pytest.fixture(params=PEFT_NAMES)
def start(request):
    return request.param


def made(base, start, rank=3, alpha=2.0, **changes):
    return layer_for(base, Plan(rank, alpha, start=start, **changes), "unet.a")


def trained(layer, x, target, steps=4, rate=0.05):
    """Plain gradient descent, in which the signs of factors make no difference."""
    for _ in range(steps):
        loss = (layer(x) - target).square().mean()
        grads = torch.autograd.grad(loss, own := [p for p in layer.parameters() if p.requires_grad])
        with torch.no_grad():
            for weight, grad in zip(own, grads, strict=True):
                weight -= rate * grad
    return layer


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_at_first_it_is_the_frozen_layer(base_and_input, start, dtype):
    base, x = base_and_input[0].to(dtype), base_and_input[1].to(dtype)
    layer = made(base, start)
    assert torch.equal(layer(x), base(x))
    assert not layer.as_update().delta(base.weight).any()


def test_it_starts_at_the_part_of_the_weight_that_its_paper_names(base_and_input):
    base, _ = base_and_input
    weight = base.weight.flatten(1)
    for start in PEFT_NAMES:
        layer = made(base, start)
        part = layer.scale * layer.up.flatten(1) @ layer.down.flatten(1)
        if start == "pissa":
            u, s, v = torch.linalg.svd(weight, full_matrices=False)
            torch.testing.assert_close(part, u[:, :3] * s[:3] @ v[:3], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(layer.up.flatten(1).norm(dim=0), layer.down.flatten(1).norm(dim=1))
        else:
            q, r = torch.linalg.qr(weight)
            torch.testing.assert_close(part, layer.scale * q[:, :3] @ r[:3], rtol=1e-4, atol=1e-5)


def test_saved_as_a_lora_of_the_base_as_it_was(base_and_input, start):
    """Twice the rank, and on the untouched frozen layer it does what was trained; a checkpoint says the same."""
    base, x = base_and_input
    layer = trained(made(base, start), x, torch.zeros_like(base(x)))
    update = layer.as_update()
    assert update.rank == 6 and update.kind in ("LoRA", "LoCon")
    merged = copy.deepcopy(base)
    with torch.no_grad():
        merged.weight += update.delta(base.weight)
    torch.testing.assert_close(layer(x), merged(x), rtol=1e-4, atol=1e-5)
    assert (layer(x) - base(x)).norm() > 1e-3 * base(x).norm(), "something was trained"
    saved = {f"unet.a.{name}": t.detach() for name, t in {**layer.weights, **layer.constants}.items()}
    (again,) = updates_from(saved, Plan(3, 2.0, start=start)).values()
    assert torch.equal(again.delta(base.weight), update.delta(base.weight))


def test_a_faint_change_outlives_rounding_to_fp16(base_and_input, start):
    """The factors are as large as the base's weights; their difference would be lost in fp16, as parts it is not."""
    base, x = base_and_input
    update = trained(made(base, start), x, torch.zeros_like(base(x)), steps=1, rate=1e-4).as_update()
    exact = update.delta(base.weight)
    rounded = type(update)(update.down.half(), update.up.half(), update.alpha).delta(base.weight)
    assert 0 < exact.norm() < 1e-3 * base.weight.norm()
    assert (rounded - exact).norm() < 2e-3 * exact.norm()


def test_trained_as_peft_trains_it(start):
    """The same steps from the same start, by its own layers."""
    peft = pytest.importorskip("peft")
    torch.manual_seed(3)
    base, x = nn.Sequential(nn.Linear(24, 20)).requires_grad_(False), torch.randn(8, 24)
    target = torch.randn(8, 20)
    ours = trained(made(copy.deepcopy(base[0]), start), x, target)
    config = peft.LoraConfig(r=3, lora_alpha=2.0, target_modules=["0"], init_lora_weights=PEFT_NAMES[start])
    model = peft.get_peft_model(copy.deepcopy(base), config)
    theirs = trained(model, x, target)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)
    assert (ours(x) - base(x)).norm() > 0.02 * base(x).norm()


def test_a_weight_of_fewer_ranks_than_asked_for(start):
    base = nn.Linear(6, 5).requires_grad_(False)
    base.weight.zero_()
    layer = made(base, start, rank=2)
    x = torch.randn(3, 6)
    assert torch.equal(layer(x), base(x))
    assert all(weight.isfinite().all() for weight in layer.weights.values())
    with pytest.raises(Error, match="at least the rank 8"):
        made(base, start, rank=8)


def test_half_precision_trains_what_the_file_says(start):
    """A change of a thousandth of the factors is not lost in what they are a part of."""
    torch.manual_seed(2)
    base, x = nn.Linear(96, 80).requires_grad_(False).bfloat16(), torch.randn(32, 96).bfloat16()
    layer = made(base, start, rank=8)
    with torch.no_grad():
        for weight in layer.weights.values():
            weight += 1e-3 * weight.std() * torch.randn_like(weight)
    change = x.float() @ layer.as_update().delta(base.weight.float()).T
    acted = layer._change(x, base(x)).float()
    assert (acted - change).norm() < 0.02 * change.norm()
