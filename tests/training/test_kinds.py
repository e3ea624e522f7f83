"""Each kind of adapter whole: trained, saved, mixed, gone on with; and the settings by block that all have."""

import copy
import json
import logging

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import sdlora
from sdlora.adapters import load_adapter
from sdlora.adapters.algebra import resize
from sdlora.errors import Error
from sdlora.mixing import Mixer
from sdlora.sampling.denoise import draw
from sdlora.sampling.recipe import Recipe
from sdlora.training.checkpoints import Checkpoint
from sdlora.training.config import TrainConfig
from sdlora.training.defaults import resolve
from sdlora.training.layers import KINDS, Plan
from sdlora.training.material import gather
from sdlora.training.run_folder import RunFolder

CPU = torch.device("cpu")
NO_RANK = {"rank": "auto", "alpha": "auto"}
WHERE = [
    "unet.mid_block",
    "unet.up_blocks.0.resnets.0",
    "unet.down_blocks.0.downsamplers",
    "text_encoder.text_model.encoder.layers.0",
]
RECIPE = Recipe("red disc", "", seed=3, steps=2, guidance=4.0, sampler="DDIM", size=(64, 64))


def settings_of(kind, small, workspace, **changes):
    own = {
        "kind": kind,
        "targets": WHERE,
        "learning_rate": 1e-2,
        "steps": 4,
        "checkpoint_every": 2,
        "holdout_images": 1,
    }
    return small(workspace, **(own | (NO_RANK if kind == "full" else {}) | changes))


@pytest.fixture(scope="module", params=[kind for kind in KINDS if kind not in ("lora", "locon", "bottleneck")])
def run(request, small, tmp_path_factory):
    workspace = tmp_path_factory.mktemp(request.param)
    return request.param, workspace, sdlora.train(settings_of(request.param, small, workspace), quiet=True)


def pixels(picture):
    return np.asarray(picture).astype(int)


def test_the_file_holds_what_was_trained(run, mini):
    kind, _, done = run
    adapter = load_adapter(done.adapter_path)
    assert adapter.report.complete and {update.kind.lower() for update in adapter.updates.values()} == {kind}
    modules = mini.modules()
    assert all(update.delta(modules[path].weight).norm() > 0 for path, update in adapter.updates.items())
    assert adapter.metadata["ss_network_module"] == "lycoris.kohya"
    said = json.loads(adapter.metadata["ss_network_args"])
    assert said["algo"] == {"dora": "lora"}.get(kind, kind) and said.get("dora_wd") == (
        "True" if kind == "dora" else None
    )
    assert adapter.metadata["ss_network_dim"] == ("None" if kind == "full" else "4")


def test_gone_on_with_after_a_loss_it_is_the_same_bits(run, small):
    """As after a kill: the newest checkpoint and all that came after the one before it are gone."""
    kind, workspace, done = run
    folder = RunFolder(done.folder)
    whole, adapter = Checkpoint.load(Checkpoint.file(folder.checkpoints, 4)), load_adapter(done.adapter_path)
    Checkpoint.file(folder.checkpoints, 4).unlink()
    folder.write_status("running", 2, 4)
    again = sdlora.train(settings_of(kind, small, workspace), resume=True, quiet=True)
    assert again.folder == done.folder
    after = Checkpoint.load(Checkpoint.file(folder.checkpoints, 4))
    assert [key for key, weight in whole.weights.items() if not torch.equal(weight, after.weights[key])] == []
    ours, theirs = load_adapter(again.adapter_path).updates, adapter.updates
    for path, update in theirs.items():
        assert all(torch.equal(tensor, ours[path].tensors()[name]) for name, tensor in update.tensors().items())


def test_mixed_here_and_loaded_by_lycoris_it_draws_the_same_picture(run, mini):
    pytest.importorskip("lycoris")
    _, _, done = run
    base = copy.deepcopy(mini)
    mixer = Mixer(base)
    plain = pixels(draw(base, RECIPE))
    mixer.set({str(done.adapter_path): 1.0})
    ours = pixels(draw(base, RECIPE))
    mixer.clear()
    assert np.array_equal(pixels(draw(base, RECIPE)), plain) and not np.array_equal(ours, plain)
    assert apply_lycoris(base, done.adapter_path) == len(load_adapter(done.adapter_path).updates)
    assert np.abs(ours - pixels(draw(base, RECIPE))).max() <= 1


@torch.no_grad()
def apply_lycoris(base, path):
    """Have LyCORIS' own modules act in the base, made of the file's keys alone; their number.

    Its loader for whole networks (4.1.3) trips over the names in diffusers' UNet.
    """
    from lycoris.logging import logger
    from lycoris.modules import get_module, make_module

    logger.setLevel(logging.ERROR)
    file, modules = load_file(path), base.modules()
    names = {f"lora_{name.replace('text_encoder', 'te').replace('.', '_')}": name for name in modules}
    found = {key.partition(".")[0] for key in file}
    for name in found:
        make_module(*get_module(file, name), name, modules[names[name]]).apply_to()
    return len(found)


def test_a_full_training_becomes_a_lora(run):
    kind, _, done = run
    if kind != "full":
        pytest.skip("only a whole difference has to be made smaller")
    small, report = resize(load_adapter(done.adapter_path), keep=0.9)
    assert report.relative < 0.4
    assert {update.kind for update in small.updates.values()} == {"LoRA", "LoCon"}


@pytest.fixture
def resolved(mini, small, tmp_path):
    def make(*left_out, **changes):
        values = {**small(tmp_path).model_dump(exclude_unset=True), **changes}
        config = TrainConfig(**{key: value for key, value in values.items() if key not in left_out})
        return resolve(config, mini, gather(config), CPU, 1)[0]

    return make


def test_a_locon_s_targets_hold_the_convolutions(resolved):
    assert resolved("targets", kind="locon", preset="style").targets[-1] != "style"
    assert "convolutions" in resolved("targets", kind="locon").targets
    assert resolved(kind="locon").targets == resolved().targets, "what was asked for stays"


def test_full_has_a_lower_rate_and_no_rank(resolved):
    rates = ("learning_rate", "text_encoder_learning_rate")
    usual, full = resolved(*rates), resolved(*rates, "rank", "alpha", kind="full")
    assert all(getattr(full, key) < getattr(usual, key) for key in rates)
    assert resolved("rank", "alpha", kind="full").learning_rate == 1e-3, "what was asked for stays"
    with pytest.raises(Error, match="kind = full has no rank: leave rank out"):
        resolved(kind="full")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"lokr_factor": 4}, "lokr_factor is for kind = lokr, not for lora"),
        ({"lora_plus": 16.0, "kind": "loha"}, "lora_plus is for .* not for loha"),
        ({"block_ranks": {"unet.mid_blok": 8}}, "block_ranks names 'unet.mid_blok'.*did you mean unet.mid_block"),
        (
            {"block_learning_rates": {"unet.up_blocks": 0.1}},
            "block_learning_rates names 'unet.up_blocks', where nothing",
        ),
        (
            {"lora_plus": 4.0, "optimiser": "prodigy"},
            "one learning rate for all: leave block_learning",
        ),
    ],
)
def test_what_can_t_work_is_refused(resolved, changes, says):
    if changes.get("optimiser") == "prodigy":
        pytest.importorskip("prodigyopt")
    with pytest.raises(Error, match=says):
        resolved("learning_rate", "text_encoder_learning_rate", "schedule", "warmup", **changes)


def test_ranks_by_block(small, tmp_path):
    where = "unet.mid_block.attentions"
    settings = small(tmp_path, block_ranks={where: 2, f"{where}.0.transformer_blocks": 8}, steps=1)
    updates = load_adapter(sdlora.train(settings, quiet=True).adapter_path).updates
    found = {path: update.rank for path, update in updates.items()}
    assert found[f"{where}.0.transformer_blocks.0.attn1.to_q"] == 8 and found[f"{where}.0.proj_in"] == 2
    assert {rank for path, rank in found.items() if not path.startswith(where)} == {4}
    assert {update.alpha for update in updates.values()} == {4.0}, "diffusers takes one alpha for that of many"


def test_the_scale_stays_but_where_it_is_rank_stabilised():
    blocks = {"unet.a": 4}
    plain, stabilised = (Plan(16, 8.0, rank_stabilised=on, block_ranks=blocks) for on in (False, True))
    assert plain.scale_of("unet.a.b") == plain.scale_of("unet.c") == 0.5
    assert stabilised.scale_of("unet.a.b") == 4.0 and stabilised.scale_of("unet.c") == 2.0
