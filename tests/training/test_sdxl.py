"""SDXL trained whole: narrow, with random weights and every module of the real one. diffusers reads what comes out."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

import sdlora
from sdlora.bases.random_base import random_base
from sdlora.data.folder import Example
from sdlora.data.latents import Latents, Seen
from sdlora.sampling.prompts import Conditions, tokenize
from sdlora.training.batches import Batches, Prompts
from sdlora.training.checkpoints import Checkpoint
from sdlora.training.injection import inject
from sdlora.training.layers import Plan
from sdlora.training.loss import Denoiser, NoiseSchedule
from sdlora.training.preparation import checkpoint_gradients
from sdlora.training.run_folder import RunFolder
from sdlora.training.targets import select
from tests.bases.written import narrow, write_folder, write_single_file
from tests.by_diffusers import drawn, sdxl_pipeline
from tests.training.test_processes import launch

TARGETS = ["attention", "feed_forward", "text_attention", "text_mlp"]
PARTS = ["unet.mid_block.attentions.0.proj_in", "text_encoder.text_model.encoder.layers.0"]
PARTS += ["text_encoder_2.text_model.encoder.layers.31.mlp"]
PROMPT, NEGATIVE = "red disc", "blue"


def test_the_unet_is_asked_as_diffusers_asks_it():
    base = narrow("sdxl")
    generator = torch.Generator().manual_seed(3)
    noisy, timesteps = torch.randn(1, 4, 8, 8, generator=generator), torch.tensor([500])
    sizes = torch.tensor([[600.0, 400.0, 5.0, 7.0, 64.0, 64.0]])
    states, _, pooled, _ = sdxl_pipeline(base).encode_prompt(PROMPT, device="cpu", do_classifier_free_guidance=False)
    with torch.no_grad():
        added = {"text_embeds": pooled, "time_ids": sizes}
        theirs = base.unet(noisy, timesteps, states, added_cond_kwargs=added).sample
        ours = Denoiser(base)(noisy, timesteps, Conditions(tokenize(base, [PROMPT]), sizes))
        elsewhere = Denoiser(base)(noisy, timesteps, Conditions(tokenize(base, [PROMPT]), sizes + 100))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(ours, elsewhere, atol=1e-4), "sizes are read"


@pytest.mark.parametrize("encoder_trains", [False, True])
def test_each_example_goes_with_its_sizes_and_a_dropped_caption_is_zeros(encoder_trains):
    base = narrow("sdxl")
    mean = torch.zeros(4, 8, 8)
    cut = replace(Seen(mean, mean), sizes=(600, 400, 5, 7, 64, 64))
    latents = [Latents(Example(Path("a"), "red disc"), (64, 64), (cut,))]
    latents += [Latents(Example(Path("b"), "red disc"), (64, 64), (Seen(mean + 1, mean),))]
    prompts = Prompts(base, ["red disc"], encoder_trains=encoder_trains)
    batches = Batches(latents, prompts, NoiseSchedule.of(base), seed=1, caption_dropout=0.5, global_batch=4)
    batch = batches.take(range(16))
    for value, sizes in zip(batch.latents[:, 0, 0, 0].tolist(), batch.prompts.sizes.tolist(), strict=True):
        assert sizes == ([64, 64, 0, 0, 64, 64] if value else [600, 400, 5, 7, 64, 64])
    told = batch.prompts.texts
    if encoder_trains:
        dropped = (told[0] == base.tokenizers[0].pad_token_id).all(-1) & (told[1] == 0).all(-1)
    else:
        dropped = (told[0] == 0).all((1, 2)) & (told[1] == 0).all(-1)
    assert 3 <= dropped.sum() <= 13


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(narrow("sdxl"), tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="module")
def trained(small, folder, tmp_path_factory):
    """Everything that a full file holds; the learning rate is so high that one step shows."""
    settings = {"targets": TARGETS, "steps": 1, "learning_rate": 2e-2, "text_encoder_learning_rate": 2e-2, "alpha": 2.0}
    settings["memory"] = "off"
    return sdlora.train(small(tmp_path_factory.mktemp("full"), base=folder, **settings), quiet=True)


def test_a_full_file_has_722_and_264_modules_under_kohya_s_names(trained):
    paths = list(sdlora.load_adapter(trained.adapter_path).updates)
    assert sum(path.startswith("unet.") for path in paths) == 722
    assert sum(path.startswith("text_encoder") for path in paths) == 264
    with safe_open(trained.adapter_path, "pt") as file:
        keys, said = list(file.keys()), file.metadata()
    prefixes = {re.match(r"lora_(te1|te2|unet_(input|middle|output)_blocks?)", key)[0] for key in keys}
    blocks = {"lora_unet_input_blocks", "lora_unet_middle_block", "lora_unet_output_blocks"}
    assert prefixes == {"lora_te1", "lora_te2", *blocks}
    assert said["ss_base_model_version"] == "sdxl_base_v1-0" and "xl" in said["modelspec.architecture"]


def test_diffusers_draws_our_picture_from_the_file(trained):
    mixer = sdlora.Mixer(random_base("sdxl", seed=5, narrow=True))
    settings = {"seed": 7, "steps": 3, "guidance": 5.0, "sampler": "Euler", "size": (64, 64)}
    plain = np.asarray(mixer.generate(PROMPT, NEGATIVE, **settings)[0].image, dtype=float)
    mixer.set({str(trained.adapter_path): 1.0})
    ours = np.asarray(mixer.generate(PROMPT, NEGATIVE, **settings)[0].image, dtype=float)
    theirs = sdxl_pipeline(random_base("sdxl", seed=5, narrow=True))
    theirs.load_lora_weights(trained.adapter_path)
    assert np.abs(ours - drawn(theirs, PROMPT, NEGATIVE, size=(64, 64), steps=3, guidance=5.0, seed=7)).max() < 1
    assert np.abs(ours - plain).mean() > 1, "one step shows"


def test_both_encoders_learn_all_but_the_layer_that_nobody_reads(trained):
    updates = sdlora.load_adapter(trained.adapter_path).updates
    still = {path for path, update in updates.items() if not update.up.any()}
    last = [path for path in updates if path.startswith("text_encoder.text_model.encoder.layers.11.")]
    assert still == set(last) and len(last) == 6


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two shapes, larger than what is trained: they are cut in their own ways. Beside them one that is held out."""
    root = tmp_path_factory.mktemp("pictures")
    shapes = {"train/wide": (160, 128), "train/tall": (128, 160), "holdout/one": (200, 160)}
    for name, shape in shapes.items():
        (root / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", shape, "red").save(root / f"{name}.png")
        (root / f"{name}.txt").write_text("wug, red", encoding="utf-8")
    return root / "train"


@pytest.mark.slow
def test_a_run_from_a_v_predicting_file_goes_on_bit_for_bit(small, pictures, tmp_path):
    """One checkpoint file, its noise schedule ending in noise alone; crops, dropped captions, prior, validation."""
    extra = {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    file = write_single_file(narrow("sdxl"), tmp_path / "model.safetensors", extra)
    settings = {"images": pictures, "base": file, "targets": PARTS, "steps": 4, "checkpoint_every": 2, "trigger": "wug"}
    settings |= {"crops": 2, "flip": True, "caption_dropout": 0.4, "prior_preservation": 0.5, "min_snr_gamma": 5.0}
    settings |= {"sample_prompts": ["wug red --s 1"], "sample_every": 4, "validate_every": 4}
    config = small(tmp_path, **settings)
    whole = sdlora.train(config, quiet=True)
    run = RunFolder(whole.folder)
    expected = Checkpoint.newest(run.checkpoints)
    assert expected.step == 4 and whole.holdout_loss_after is not None and list(run.samples.glob("*.png"))
    (run.checkpoints / "step-000004.safetensors").unlink()
    run.write_status("running", 3, 4)
    again = Checkpoint.newest(RunFolder(sdlora.train(config, resume=True, quiet=True).folder).checkpoints)
    assert again.step == 4
    assert [key for key, weight in expected.weights.items() if not torch.equal(weight, again.weights[key])] == []
    said = sdlora.load_adapter(whole.adapter_path).metadata
    assert said["modelspec.prediction_type"] == "v" and said["ss_zero_terminal_snr"] == "True"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="several processes on Windows are not supported")
def test_two_processes_do_not_wait_for_the_layer_that_nobody_reads(small, folder, tmp_path):
    pair, alone = tmp_path / "pair", tmp_path / "alone"
    common = {"base": folder, "targets": ["text_attention"], "steps": 3}
    launch(small(pair, batch_size=1, **common), pair)
    sdlora.train(small(alone, batch_size=2, **common), quiet=True)
    losses = [[row["loss"] for row in RunFolder(place / "runs" / "disc").metrics()] for place in (pair, alone)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_checkpointing_changes_no_gradient_of_either_encoder():
    base = random_base("sdxl", seed=5, narrow=True)
    layers = inject(base, select(base.modules(), PARTS), Plan(rank=2, alpha=2.0))
    denoiser = Denoiser(base).train()
    told = Conditions(tokenize(base, [PROMPT]), torch.tensor([[64.0, 64.0, 0.0, 0.0, 64.0, 64.0]]))
    noisy = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    found = []
    for on in (False, True):
        for encoder in base.text_encoders:
            checkpoint_gradients(encoder, on)
        ups = [layer.up for layer in layers.values()]
        found.append(torch.autograd.grad(denoiser(noisy, torch.tensor([500]), told).square().mean(), ups))
    assert all(plain.abs().max() > 0 for plain in found[0])
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-9) for a, b in zip(*found, strict=True))
