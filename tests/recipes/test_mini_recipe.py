"""The mini recipe on a handful of generated icons, in tiny sizes: resuming, packaging, what it learns from."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

from recipes.mini import base as bases
from recipes.mini import tokenizer as tokenizer_stage
from recipes.mini import unet as unet_stage
from recipes.mini import vae as vae_stage
from recipes.mini.captions import STYLES, caption
from recipes.mini.evaluate import evaluate, fixed_draws
from recipes.mini.icons import SKIPPED, VERSIONS, Icons
from recipes.mini.latents import Examples, prepare
from recipes.mini.loop import Plan, Training
from recipes.mini.package import package
from sdlora.resources import MINI

WIDTHS = (16, 16, 16, 16)


@pytest.fixture(scope="module")
def icons() -> Icons:
    """Two icons of each style: a disc and a square of one colour on nothing."""
    y, x = np.mgrid[:128, :128] - 64
    shapes = {"ball": x**2 + y**2 < 2000, "box": (abs(x) < 40) & (abs(y) < 40)}
    names = [(icon_set, name) for icon_set in STYLES for name in shapes]
    pixels = np.zeros((len(names), 128, 128, 4), np.uint8)
    for i, (_, name) in enumerate(names):
        pixels[i][shapes[name]] = (30 * i, 100, 200, 255)
    return Icons(pixels, names)


@pytest.fixture(scope="module")
def examples(icons: Icons, tmp_path_factory: pytest.TempPathFactory) -> Examples:
    torch.manual_seed(0)
    vae = vae_stage.build(WIDTHS).eval()
    return prepare(icons, vae, bases.tokenizer(MINI), 64, tmp_path_factory.mktemp("latents"))


def train_unet(examples: Examples, plan: Plan, checkpoint: Path, breakdown: int | None = None) -> Training:
    """A tiny training; with `breakdown`, one that dies after so many steps as if killed: without saving."""
    torch.manual_seed(1)
    unet = unet_stage.build_unet(WIDTHS, text_width=16)
    text_encoder = unet_stage.build_text_encoder(bases.tokenizer(MINI), width=16, layers=1)
    if breakdown is not None:
        unet.register_forward_hook(die_after(breakdown))
    return unet_stage.train(unet, text_encoder, examples, examples, plan, checkpoint, batch=2)


class Killed(BaseException): ...


def die_after(calls: int) -> Callable[..., None]:
    counted = 0

    def hook(*_: object) -> None:
        nonlocal counted
        counted += 1
        if counted > calls:
            raise Killed

    return hook


def test_killed_and_resumed_equals_uninterrupted(examples: Examples, tmp_path: Path) -> None:
    plan = Plan(steps=6, peak=1e-3, warmup=2, checkpoint_seconds=0, dtype=torch.float32)
    whole = train_unet(examples, plan, tmp_path / "whole.pt")
    with pytest.raises(Killed):
        train_unet(examples, plan, tmp_path / "killed.pt", breakdown=3)
    resumed = train_unet(examples, plan, tmp_path / "killed.pt")
    assert resumed.step == whole.step == 6
    assert all(torch.equal(a, b) for a, b in zip(resumed.average, whole.average, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(resumed.parameters, whole.parameters, strict=True))


def test_restart_with_fewer_steps_brings_the_anneal_forward_without_a_jump() -> None:
    long, short = Plan(steps=1000, peak=1e-3), Plan(steps=700, peak=1e-3)
    assert [long.learning_rate(s) for s in range(350)] == [short.learning_rate(s) for s in range(350)]
    assert short.learning_rate(699) < 1e-7 < long.learning_rate(699)


def test_training_learns(tmp_path: Path) -> None:
    line = nn.Linear(1, 1)

    def objective(step: int, generator: torch.Generator) -> tuple[Tensor, float]:
        x = torch.randn(16, 1, generator=generator)
        loss = (line(x) - (2 * x + 1)).square().mean()
        return loss, loss.item()

    training = Training({"line": line}, Plan(steps=400, peak=0.05, warmup=10), tmp_path / "line.pt")
    training.run(objective)
    training.averaged()
    assert line.weight.item() == pytest.approx(2, abs=0.05)
    assert line.bias.item() == pytest.approx(1, abs=0.05)


def test_tokenizer_ends_at_the_end(icons: Icons, tmp_path: Path) -> None:
    tokenizer_stage.train(icons, merges=20).save_pretrained(tmp_path / "tokenizer")
    tokenizer = bases.tokenizer(tmp_path)
    ids = tokenizer("a ball, noto style — Zürich!").input_ids
    assert ids[0] == tokenizer.bos_token_id and ids.index(tokenizer.eos_token_id) == len(ids) - 1
    assert tokenizer.model_max_length == tokenizer_stage.CONTEXT


def test_vae_stage_scales_its_latents_to_unit_variance(icons: Icons, tmp_path: Path) -> None:
    vae = vae_stage.build(WIDTHS)
    vae_stage.train(vae, icons, Plan(steps=2, peak=1e-3), tmp_path / "vae.pt", batch=2)
    latents = prepare(icons, vae, bases.tokenizer(MINI), 128, tmp_path).latents
    assert latents.std().item() == pytest.approx(1, abs=0.3)


def test_package_opens_in_diffusers_and_can_be_evaluated(icons: Icons, examples: Examples, tmp_path: Path) -> None:
    training = train_unet(examples, Plan(steps=1, peak=1e-3), tmp_path / "unet.pt")
    parts = training.averaged()
    package(parts["unet"], parts["text_encoder"], vae_stage.build(WIDTHS), bases.tokenizer(MINI), tmp_path / "base")
    pipe = StableDiffusionPipeline.from_pretrained(tmp_path / "base", safety_checker=None)
    images = pipe("ball, flat style", num_inference_steps=1, height=64, width=64, output_type="np").images
    assert images.shape == (1, 64, 64, 3) and np.isfinite(images).all()
    assert pipe.text_encoder.dtype == torch.float32
    kept = pipe.unet.state_dict()["conv_in.weight"].float()
    assert torch.equal(kept, parts["unet"].state_dict()["conv_in.weight"].half().float())
    errors = evaluate(tmp_path / "base", fixed_draws(icons, count=1))
    assert set(errors) == {*STYLES.values(), "all"} and all(0.1 < e < 10 for e in errors.values())


def test_captions_name_style_and_background() -> None:
    assert caption("noto", "red-apple", "blue") == "red apple, noto style, blue background"
    assert caption("fxemoji", "cat-face", with_style=False) == "cat face"


def test_what_adapters_are_judged_on_is_not_learned() -> None:
    assert not {"openmoji", "fluent-emoji", "fluent-emoji-high-contrast", "noto-v1"} & set(VERSIONS)
    assert SKIPPED.search("woman-running-dark-skin-tone") and not SKIPPED.search("red-apple")
