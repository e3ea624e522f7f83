"""Injection and its exact inverse, on a base of random numbers with every module of SD 1.5."""

import pytest
import torch

from sdlora.bases.random_base import random_base
from sdlora.sampling.prompts import Conditions
from sdlora.training.config_values import TARGETS
from sdlora.training.injection import eject, inject, updates_of
from sdlora.training.layers import Layer, Plan
from sdlora.training.loss import Denoiser, squared_error
from sdlora.training.targets import select


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def base(request):
    return random_base("sd1", narrow=True, dtype=request.param)


@torch.no_grad()
def answer(base):
    """What base and text encoder say of fixed input."""
    generator = torch.Generator().manual_seed(3)
    noisy = torch.randn(2, 4, 8, 8, generator=generator)
    tokens = torch.randint(0, 1000, (2, 77), generator=generator)
    return Denoiser(base).eval()(noisy, torch.tensor([10, 900]), Conditions((tokens,)))


def objects(base):
    """Every module and tensor of the base, by name, as the objects that they are."""
    roots = {"unet": base.unet, **{f"text_encoder_{i}": e for i, e in enumerate(base.text_encoders)}}
    return {
        f"{root}.{name}": id(thing)
        for root, module in roots.items()
        for found in (module.named_modules(), module.named_parameters(), module.named_buffers())
        for name, thing in found
    }


def test_the_first_forward_is_the_base_s_bit_for_bit_and_so_is_the_loss(base):
    paths = select(base.modules(), TARGETS)
    before = answer(base)
    layers = inject(base, paths, Plan(rank=4, alpha=8.0, seed=1))
    try:
        during = answer(base)
    finally:
        eject(base, layers)
    assert torch.equal(before, during)
    target = torch.ones_like(before)
    assert torch.equal(squared_error(before, target), squared_error(during, target))


def test_eject_is_the_exact_inverse(base):
    was, before = objects(base), answer(base)
    layers = inject(base, ["unet.conv_in", *select(base.modules(), TARGETS)], Plan(rank=2, alpha=2.0))
    with torch.no_grad():
        for layer in layers.values():
            layer.up.normal_()
    assert objects(base) != was and not torch.equal(answer(base), before)
    eject(base, layers)
    assert objects(base) == was and torch.equal(answer(base), before)


def test_trained_layers_equal_merged_weights():
    base = random_base("sd1", narrow=True)
    paths = select(base.modules(), TARGETS)
    layers = inject(base, paths, Plan(rank=4, alpha=8.0))
    with torch.no_grad():
        for layer in layers.values():
            layer.up.normal_(std=0.02)
    trained = answer(base)
    eject(base, layers)
    with torch.no_grad():
        modules = base.modules()
        for path, update in updates_of(layers).items():
            modules[path].weight += update.delta(modules[path].weight)
    torch.testing.assert_close(trained, answer(base), rtol=1e-3, atol=1e-3)
    assert (trained - answer(random_base("sd1", narrow=True))).abs().mean() > 0.01


def test_a_layer_s_start_depends_on_seed_and_path_alone(base):
    few = ["unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"]
    many = select(base.modules(), ["attention"])

    def starts(paths, seed):
        layers = inject(base, paths, Plan(rank=4, alpha=4.0, seed=seed))
        eject(base, layers)
        return {path: layer.down for path, layer in layers.items()}

    alone, among, other = starts(few, 1)[few[0]], starts(many, 1), starts(few, 2)[few[0]]
    assert torch.equal(alone, among[few[0]]) and not torch.equal(alone, other)
    same_shape = [down for path, down in among.items() if down.shape == alone.shape]
    assert len({tuple(down.flatten().tolist()) for down in same_shape}) == len(same_shape) > 1


def test_only_the_layers_learn(base):
    layers = inject(base, select(base.modules(), ["attention"]), Plan(rank=4, alpha=4.0))
    learning = {id(p) for p in base.unet.parameters() if p.requires_grad}
    eject(base, layers)
    assert learning == {id(p) for layer in layers.values() for p in (layer.down, layer.up)}
    assert not any(isinstance(module, Layer) for module in base.unet.modules())
