"""Trainings with other starts, and with ranks that are found: resumed, saved, loaded and drawn with by others."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

import sdlora
from sdlora.bases import load_base
from sdlora.errors import Error
from sdlora.training.checkpoint_adapters import adapter_of
from sdlora.training.checkpoints import Checkpoint
from sdlora.training.run_folder import RunFolder
from tests.by_diffusers import drawn, mini_pipeline

TARGETS = ["unet.mid_block", "unet.up_blocks.1.attentions", "text_encoder.text_model.encoder.layers.0.self_attn"]
WAYS = {"pissa": {"start": "pissa"}, "orthogonal": {"start": "orthogonal"}, "adaptive": {"adaptive_rank": True}}
STEPS = 6


@pytest.fixture(scope="module")
def settings(small):
    def made(workspace, way, **changes):
        rate = 3e-2 if way == "adaptive" else 5e-3  # its product of three learns more slowly
        rates = {"learning_rate": rate, "text_encoder_learning_rate": rate}
        values = {
            "targets": TARGETS,
            "steps": STEPS,
            "checkpoint_every": 2,
            "dropout": 0.1,
            "memory": "off",
            **rates,
            **WAYS[way],
        }
        return small(workspace, **(values | changes))

    return made


@pytest.fixture(scope="module", params=WAYS)
def way(request):
    return request.param


@pytest.fixture(scope="module")
def run(settings, way, tmp_path_factory):
    return sdlora.train(settings(tmp_path_factory.mktemp(way), way, choose="last"), quiet=True)


def test_the_file_holds_plain_loras_of_the_base_as_it_was(run, way):
    adapter = sdlora.load_adapter(run.adapter_path)
    ranks = [update.rank for update in adapter.updates.values() if update.up.any()]
    assert {update.kind for update in adapter.updates.values()} <= {"LoRA", "LoCon"}
    if way == "adaptive":
        assert sum(ranks) == 4 * len(adapter.updates) and len(set(ranks)) > 2, (
            "the budget is met, by ranks of several sizes"
        )
        assert adapter.metadata["ss_network_dim"] == "Dynamic"
    else:
        assert set(ranks) == {8} and adapter.metadata["ss_network_dim"] == "8"
    modules = load_base("mini").modules()
    changes = [
        float(u.delta(modules[path].weight).norm() / modules[path].weight.norm()) for path, u in adapter.updates.items()
    ]
    assert 1e-3 < max(changes) < 0.5


def test_a_checkpoint_is_the_same_adapter(run):
    """What `sdlora keep` and previews of steps make of it."""
    folder = RunFolder(run.folder)
    saved, file = adapter_of(Checkpoint.newest(folder.checkpoints), folder), sdlora.load_adapter(run.adapter_path)
    assert saved.updates.keys() == file.updates.keys()
    modules = load_base("mini").modules()
    for path, update in saved.updates.items():
        weight = modules[path].weight
        assert torch.equal(update.delta(weight), file.updates[path].delta(weight))


def test_resumed_it_ends_with_the_same_bits(run, settings, way, tmp_path):
    """From the checkpoint in the middle, which is where ranks are still given up."""
    config = settings(tmp_path, way, choose="last")
    sdlora.train(config, quiet=True)
    half = RunFolder(tmp_path / "runs" / "disc")
    for step in (4, 6):
        Checkpoint.file(half.checkpoints, step).unlink()
    half.write_status("stopped", 2, STEPS)
    sdlora.train(config, resume=True, quiet=True)
    ours, theirs = (Checkpoint.newest(folder.checkpoints) for folder in (half, RunFolder(run.folder)))
    assert ours.weights.keys() == theirs.weights.keys() and ours.step == theirs.step == STEPS
    assert [key for key, weight in theirs.weights.items() if not torch.equal(weight, ours.weights[key])] == []


def test_diffusers_draws_our_picture(run):
    drawing = {"guidance": 4.0, "sampler": "DDIM", "size": (64, 64), "steps": 4, "seed": 5}
    mixer = sdlora.Mixer(load_base("mini"))
    plain = np.asarray(mixer.generate("red disc", **drawing)[0].image, dtype=float)
    mixer.set({str(run.adapter_path): 1.0})
    ours = np.asarray(mixer.generate("red disc", **drawing)[0].image, dtype=float)
    pipeline = mini_pipeline()
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.load_lora_weights(run.adapter_path)
    theirs = drawn(pipeline, "red disc", size=(64, 64), steps=4, guidance=4.0, seed=5)
    assert np.abs(ours - theirs).max() <= 1
    assert np.abs(ours - plain).mean() > 0.3


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"adaptive_rank": True, "ema": 0.9}, "set ema to 0"),
        ({"adaptive_rank": True, "start": "pissa"}, "leave start = pissa out"),
        ({"start": "pissa", "kind": "lokr"}, "start = pissa is for low-rank updates"),
        ({"start": "orthogonal", "rank": 512}, "of at least the rank 512"),
    ],
)
def test_what_can_t_be_is_a_sentence(small, tmp_path, changes, says):
    with pytest.raises(Error, match=says):
        sdlora.train(small(tmp_path, **changes), quiet=True)


def test_decay_is_off_where_the_start_is_the_base_s_own(small, tmp_path):
    config = small(tmp_path, start="pissa", steps=1)
    config = type(config)(**{k: getattr(config, k) for k in config.model_fields_set if k != "weight_decay"})
    assert RunFolder(sdlora.train(config, quiet=True).folder).config().weight_decay == 0
