"""Whole trainings on mini: what a run leaves behind, and that it learns."""

import json
import tomllib
from pathlib import Path

import pytest
import torch

import sdlora
from sdlora.training.run_folder import RunFolder
from sdlora.training.targets import select
from tests.training.conftest import draw_images


@pytest.fixture(scope="module")
def finished(small, images, tmp_path_factory):
    """One finished run with everything in it."""
    workspace = tmp_path_factory.mktemp("finished")
    config = small(
        workspace,
        steps=4,
        holdout=images.parent / "holdout",
        trigger="wug",
        checkpoint_every=2,
        validate_every=100,
        sample_every=100,
        sample_prompts=["a red disc --s 2"],
        rank_stabilised=True,
    )
    return sdlora.train(config, quiet=True), workspace


def test_a_run_is_what_a_watcher_expects(finished):
    run, workspace = finished
    assert run.folder == workspace / "runs" / "disc" and run.state == "finished" and run.steps == 4
    names = {path.relative_to(run.folder).as_posix() for path in run.folder.rglob("*") if path.is_file()}
    assert names == {
        "config.toml",
        "asked.toml",
        "choices.json",
        "images.json",
        "dataset.json",
        "metrics.jsonl",
        "messages.jsonl",
        "status.json",
        "loss.png",
        "report.html",
        "disc.safetensors",
        "checkpoints/step-000002.safetensors",
        "checkpoints/step-000004.safetensors",
        "samples/index.json",
        "samples/step-000000-prompt-1-weight-0.png",
        "samples/step-000004-prompt-1-weight-1.png",
    }
    status = json.loads((run.folder / "status.json").read_text(encoding="utf-8"))
    assert status["state"] == "finished" and status["step"] == status["steps"] == 4 and status["heartbeat"] > 0
    settings = tomllib.loads((run.folder / "config.toml").read_text(encoding="utf-8"))
    assert settings["attention"] == "sdpa" and settings["precision"] == "fp32" and settings["steps"] == 4


def test_metrics_are_rows_of_steps(finished):
    run, _ = finished
    rows = list(RunFolder(run.folder).metrics())
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4]
    assert all(
        row["loss"] > 0 and row["grad_norm"] > 0 and row["learning_rate"] == 1e-3 for row in rows if "loss" in row
    )
    measured = {row["step"]: row["holdout_loss"] for row in rows if "holdout_loss" in row}
    assert set(measured) == {0, 4}
    assert (run.holdout_loss_before, run.holdout_loss_after) == (measured[0], measured[4])
    assert measured[0] != measured[4]


def test_the_finished_file_is_in_the_library(finished):
    run, workspace = finished
    assert run.adapter_path == workspace / "adapters" / "disc.safetensors"
    assert run.adapter_path.read_bytes() == (run.folder / "disc.safetensors").read_bytes()


def test_the_file_says_how_it_was_made_and_nothing_of_this_machine(finished, small, mini, images):
    run, workspace = finished
    adapter = sdlora.load_adapter(run.adapter_path)
    settings = small(workspace)
    assert set(adapter.updates) == set(select(mini.modules(), settings.targets))
    scales = {update.scale for update in adapter.updates.values()}
    assert scales == {settings.alpha / settings.rank**0.5}  # rank-stabilised
    facts = adapter.metadata
    assert facts["ss_output_name"] == "disc" and facts["ss_base_model_version"] == "sd_v1"
    assert facts["ss_steps"] == "4" and facts["ss_network_dim"] == "4" and facts["ss_seed"] == "5"
    assert facts["ss_epoch"] == "1.33" and facts["ss_num_train_images"] == "6"
    assert json.loads(facts["ss_dataset_dirs"]) == {"discs": {"n_repeats": 1, "img_count": 6}}
    assert json.loads(facts["ss_tag_frequency"])["discs"]["wug"] == 6
    assert facts["modelspec.trigger_phrase"] == "wug" and facts["modelspec.title"] == "disc"
    assert len(facts["ss_new_sd_model_hash"]) == 64
    started = (run.folder / "config.toml").stat().st_mtime
    assert float(facts["ss_training_started_at"]) == pytest.approx(started, abs=1)
    everything = json.dumps(facts, ensure_ascii=False)
    assert str(workspace) not in everything and str(images.parent) not in everything


def test_a_taken_name_becomes_another(small, tmp_path):
    first, second = (sdlora.train(small(tmp_path, steps=1), quiet=True) for _ in range(2))
    assert first.adapter_path.name == "disc.safetensors" and second.adapter_path.name == "disc-2.safetensors"
    a, b = (sdlora.load_adapter(run.adapter_path) for run in (first, second))
    assert b.metadata["ss_output_name"] == "disc-2"
    assert all(torch.equal(a.updates[path].up, b.updates[path].up) for path in a.updates)


def test_it_learns(small, tmp_path):
    folder = draw_images(tmp_path / "one", ["red"])
    run = sdlora.train(small(tmp_path, images=folder, steps=24, learning_rate=3e-3, flip=False), quiet=True)
    losses = [row["loss"] for row in RunFolder(run.folder).metrics() if "loss" in row]
    assert sum(losses[-8:]) < 0.9 * sum(losses[:8])


def test_the_file_says_nothing_of_where_it_was_made(small, tmp_path, images):
    file = sdlora.train(small(tmp_path, steps=1), quiet=True).adapter_path.read_bytes()
    for place in (tmp_path, images.parent, Path.home(), Path.cwd()):
        assert str(place).encode() not in file


def test_the_first_loss_is_the_base_s(small, tmp_path, mini):
    """Injected layers change nothing before the first step: the first row's loss follows from the base alone."""
    config = small(tmp_path, steps=1, gradient_accumulation=2)
    other = config.model_copy(update={"name": "other", "targets": ["text_mlp", "feed_forward"], "rank": 2})
    first = [next(RunFolder(sdlora.train(c, quiet=True).folder).metrics())["loss"] for c in (config, other)]
    assert first[0] == first[1]


def test_nothing_is_said_on_stdout_nor_by_libraries(small, tmp_path, capfd):
    sdlora.train(small(tmp_path, steps=1))
    out, err = capfd.readouterr()
    assert out == "" and "should be kept in float32" not in err and "Warning" not in err
    assert "trainable parameters" in err and "of the base's" in err and "epochs" in err


def test_fewer_images_than_a_batch(small, tmp_path):
    folder = draw_images(tmp_path / "two", ["red", "blue"])
    assert sdlora.train(small(tmp_path, images=folder, batch_size=5, steps=1), quiet=True).state == "finished"


def test_kohya_s_repeats_are_counted(small, tmp_path):
    folder = draw_images(tmp_path / "set" / "3_disc", ["red", "blue"])
    run = sdlora.train(small(tmp_path, images=folder.parent, steps=3), quiet=True)
    facts = sdlora.load_adapter(run.adapter_path).metadata
    assert facts["ss_epoch"] == "1.0"
    assert json.loads(facts["ss_dataset_dirs"]) == {"3_disc": {"n_repeats": 3, "img_count": 2}}


def test_a_tenth_is_held_out_where_nothing_else_is_said(small, tmp_path):
    folder = draw_images(tmp_path / "many", [f"rgb({i * 10},99,{200 - i * 5})" for i in range(20)])
    run = sdlora.train(small(tmp_path, images=folder, steps=1), quiet=True)
    assert run.holdout_loss_before is not None and run.holdout_loss_after is not None
    assert sdlora.load_adapter(run.adapter_path).metadata["ss_num_train_images"] == "18"


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"targets": ["unet"], "precision": "bf16"},
        {"targets": ["convolutions"], "attention": "plain"},
        {"min_snr_gamma": 5.0, "prediction_type": "v_prediction", "schedule": "linear"},
        {"gradient_checkpointing": True, "dropout": 0.2, "precision": "bf16"},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_settings_that_meet_seldom(small, tmp_path, changes):
    run = sdlora.train(small(tmp_path, steps=2, sample_prompts=[" --s 2"], sample_every=100, **changes), quiet=True)
    adapter = sdlora.load_adapter(run.adapter_path)
    assert all(update.up.isfinite().all() for update in adapter.updates.values())
    # not all: with one token, at the bottom of so small a UNet, attention's queries and keys have nothing to say
    learned = [path for path, update in adapter.updates.items() if update.up.abs().sum() > 0]
    assert len(learned) > 0.7 * len(adapter.updates)


def test_trainings_in_one_process_do_not_share_settings(small, tmp_path):
    """accelerate keeps its state for the life of a process."""
    alone = sdlora.train(small(tmp_path / "a", gradient_accumulation=1), quiet=True)
    sdlora.train(small(tmp_path / "b", gradient_accumulation=3, steps=1), quiet=True)
    again = sdlora.train(small(tmp_path / "c", gradient_accumulation=1), quiet=True)
    a, b = (sdlora.load_adapter(run.adapter_path).updates for run in (alone, again))
    assert all(torch.equal(a[path].up, b[path].up) and torch.equal(a[path].down, b[path].down) for path in a)
