"""A training that can't go on says why, and never leaves a broken file."""

import json
import shutil

import pytest
import torch
from PIL import Image

import sdlora
from sdlora.errors import Error
from sdlora.training.batches import Batches
from sdlora.training.checkpoints import Checkpoint
from sdlora.training.run_folder import RunFolder


def left(workspace):
    run = RunFolder(workspace / "runs" / "disc")
    return run, sorted(path.name for path in (workspace / "adapters").glob("*"))


def test_a_learning_rate_that_is_absurd(small, tmp_path):
    """1e30 makes the very next forward infinite."""
    with pytest.raises(Error, match=r"became (nan|inf) at step \d of disc: start again with a lower learning_rate"):
        sdlora.train(small(tmp_path, steps=6, learning_rate=1e30, checkpoint_every=1), quiet=True)
    run, adapters = left(tmp_path)
    assert adapters == [] and not run.adapter_file.exists()
    status = json.loads(run.status_file.read_text(encoding="utf-8"))
    assert status["state"] == "failed" and "learning_rate" in status["message"]
    for path in run.checkpoints.glob("*.safetensors"):
        assert all(tensor.isfinite().all() for tensor in Checkpoint.load(path).weights.values())


def test_a_picture_that_is_nan(small, tmp_path, monkeypatch):
    """A poisoned latent is met at some step of the first epoch; the checkpoint before it stays good and is resumed."""
    sound = Batches.take

    def poisoned(self, indices):
        batch = sound(self, indices)
        if 5 in indices:
            batch.latents[0] = torch.nan
        return batch

    monkeypatch.setattr(Batches, "take", poisoned)
    config = small(tmp_path, steps=4, batch_size=1, gradient_accumulation=2, checkpoint_every=1)
    with pytest.raises(Error, match=r"loss became nan at step 3 of disc.*the checkpoint of step 2 is kept"):
        sdlora.train(config, quiet=True)
    run, adapters = left(tmp_path)
    assert adapters == [] and not run.adapter_file.exists() and Checkpoint.newest_step(run.checkpoints) == 2
    monkeypatch.undo()
    resumed = sdlora.train(config, resume="disc", quiet=True)
    assert resumed.state == "finished" and resumed.steps == 4


def test_the_state_before_a_nan_is_kept_though_no_checkpoint_was_due(small, tmp_path, monkeypatch):
    """It goes on bit for bit from there, as if nothing had happened, and makes no other checkpoint go away."""
    sound = Batches.take

    def poisoned(self, indices):
        batch = sound(self, indices)
        if 6 in indices:
            batch.latents[0] = torch.nan
        return batch

    config = small(tmp_path, steps=4, ema=0.9, checkpoint_every=2, keep_checkpoints=1)
    expected = sdlora.train(config.model_copy(update={"workspace": str(tmp_path / "sound")}), quiet=True)
    monkeypatch.setattr(Batches, "take", poisoned)
    with pytest.raises(Error, match=r"loss became nan at step 4 of disc.*the checkpoint of step 3 is kept"):
        sdlora.train(config, quiet=True)
    run, adapters = left(tmp_path)
    assert adapters == [] and run.status()["state"] == "failed"
    assert {path.stem for path in run.checkpoints.iterdir()} == {"step-000002", "step-000003"}
    monkeypatch.undo()
    resumed = sdlora.train(config, resume="disc", quiet=True)
    ours, theirs = (sdlora.load_adapter(r.adapter_path).updates for r in (resumed, expected))
    assert all(torch.equal(ours[path].up, theirs[path].up) for path in theirs)


def test_a_checkpoint_that_can_t_be_written(small, tmp_path, monkeypatch):
    create = RunFolder.create

    def without_folder(config):
        run = create(config)
        run.checkpoints.rmdir()
        run.checkpoints.write_text("no folder", encoding="utf-8")
        return run

    monkeypatch.setattr(RunFolder, "create", staticmethod(without_folder))
    with pytest.raises(Error, match=r"A file of the run disc can't be written .*--resume disc"):
        sdlora.train(small(tmp_path, steps=2, checkpoint_every=1), quiet=True)
    run, adapters = left(tmp_path)
    assert adapters == [] and run.status()["state"] == "failed" and "can't be written" in run.status()["message"]
    monkeypatch.undo()
    run.checkpoints.unlink()
    assert sdlora.train(small(tmp_path, steps=2, checkpoint_every=1), resume=True, quiet=True).state == "finished"


def test_a_damaged_checkpoint(small, tmp_path):
    config = small(tmp_path, steps=2, checkpoint_every=1)
    sdlora.train(config, quiet=True)
    run, _ = left(tmp_path)
    run.write_status("failed", 2, 2)
    (run.checkpoints / "step-000002.safetensors").write_bytes(b"half")
    with pytest.raises(Error, match="delete it and resume from the one before"):
        sdlora.train(config, resume=True, quiet=True)
    (run.checkpoints / "step-000002.safetensors").unlink()
    assert sdlora.train(config, resume=True, quiet=True).steps == 2


def test_an_adapter_that_fp16_can_t_hold(small, tmp_path):
    config = small(tmp_path, steps=1, learning_rate=1e6, save_dtype="fp16")
    with pytest.raises(Error, match="save as fp32"):
        sdlora.train(config, quiet=True)
    run, adapters = left(tmp_path)
    assert adapters == [] and not run.adapter_file.exists()
    saved = sdlora.train(config.model_copy(update={"save_dtype": "fp32"}), resume=True, quiet=True)
    assert saved.adapter_path.is_file()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"images": "nowhere"}, "There is no folder"),
        ({"base": "nowhere.safetensors"}, "There is no model"),
        ({"device": "gpu"}, "no kind of device called 'gpu'"),
        ({"targets": ["atention"]}, "did you mean attention"),
        ({"resolution": 60}, "multiple of 64"),
        ({"precision": "fp16"}, "needs a CUDA GPU"),
        ({"preset": "styl"}, "no preset 'styl'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_mistakes_are_told_before_a_run_begins(small, tmp_path, change, says):
    with pytest.raises(Error, match=says):
        sdlora.train(small(tmp_path, **change), quiet=True)
    assert not (tmp_path / "runs").exists()


def test_an_image_that_goes_missing(small, images, tmp_path):
    folder = tmp_path / "pictures"
    shutil.copytree(images, folder)
    Image.new("RGB", (8, 8)).save(folder / "small.png")
    (folder / "broken.png").write_bytes(b"no picture")
    assert sdlora.train(small(tmp_path, images=folder, steps=1), quiet=True).state == "finished"
