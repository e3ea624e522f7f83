"""The step that the user makes a run's adapter, and the checkpoints that stay for it."""

import json
import shutil

import pytest
import torch

import sdlora
from sdlora.errors import Error
from sdlora.training.checkpoints import Checkpoint
from sdlora.training.finding import find_run
from sdlora.training.keeping import keep
from sdlora.training.run_folder import RunFolder


@pytest.fixture(scope="module")
def trained(small, images, tmp_path_factory):
    """A finished run whose best step is neither its last nor among the newest checkpoints: the rate is far too high
    after step 2."""
    workspace = tmp_path_factory.mktemp("trained")
    config = small(
        workspace,
        steps=6,
        holdout=images.parent / "holdout",
        checkpoint_every=1,
        keep_checkpoints=2,
        validate_every=1,
        schedule="piecewise_constant",
        schedule_args={"step_rules": "1:1,3000"},
        learning_rate=2e-4,
        text_encoder_learning_rate=0.0,
    )
    return sdlora.train(config, quiet=True)


@pytest.fixture
def run(trained, tmp_path):
    """A copy of it."""
    workspace = trained.folder.parent.parent
    shutil.copytree(workspace, tmp_path / "ws")
    return RunFolder(tmp_path / "ws" / "runs" / "disc")


def published(run):
    return run.workspace / "adapters" / "disc.safetensors"


def is_of_step(file, run, step):
    learned = Checkpoint.load(Checkpoint.file(run.checkpoints, step)).weights
    return all(torch.equal(u.up, learned[f"{path}.up"]) for path, u in sdlora.load_adapter(file).updates.items())


def test_the_best_checkpoint_stays_beside_the_newest(run):
    best = Checkpoint.newest(run.checkpoints).states["best"]["step"]
    measured = {row["step"]: row["holdout_loss"] for row in run.metrics() if "holdout_loss" in row}
    assert best == min(measured, key=measured.get) and 0 < best < 5
    assert Checkpoint.steps(run.checkpoints) == [best, 5, 6]
    assert run.status()["adapter_step"] == best and is_of_step(published(run), run, best)


def test_a_step_becomes_the_adapter(run):
    best = run.status()["adapter_step"]
    kept = keep("disc", 5, run.workspace)
    assert (kept.step, kept.instead_of, kept.adapter_path) == (5, best, published(run))
    assert kept.sentence.endswith(f"is now the adapter of step 5 of disc, in place of that of step {best}")
    assert is_of_step(published(run), run, 5) and published(run).read_bytes() == run.adapter_file.read_bytes()
    status = run.status()
    assert (status["state"], status["adapter_step"], status["step"]) == ("finished", 5, 6)
    assert status["adapter"] == str(published(run))
    facts = sdlora.load_adapter(published(run)).metadata
    assert facts["ss_steps"] == "5" and facts["ss_output_name"] == "disc" and facts["ss_epoch"] == "1.67"
    assert run.held_out_losses()[1] == {r["step"]: r.get("holdout_loss") for r in run.metrics()}[5]


def test_by_name(run):
    best = run.status()["adapter_step"]
    assert keep(str(run.path), "last", run.workspace).step == 6 and is_of_step(published(run), run, 6)
    assert keep("disc", "best", run.workspace).step == best and is_of_step(published(run), run, best)
    assert keep("disc", "best", run.workspace).sentence.endswith("as it was before")


def test_a_step_that_is_not_there_names_those_that_are(run):
    before = published(run).read_bytes()
    with pytest.raises(Error, match=r"disc has no checkpoint of step 4: it has \d, 5, 6"):
        keep("disc", 4, run.workspace)
    assert published(run).read_bytes() == before and run.kept is None
    with pytest.raises(Error, match="There is no run 'disk'"):
        keep("disk", 5, run.workspace)


def test_a_file_of_another_training_is_not_overwritten(run, small, tmp_path):
    other = sdlora.train(small(tmp_path / "other", steps=1), quiet=True)
    shutil.copyfile(other.adapter_path, published(run))
    with pytest.raises(Error, match=r"disc\.safetensors is not of the run disc: move or rename that file"):
        keep("disc", 5, run.workspace)
    assert published(run).read_bytes() == other.adapter_path.read_bytes()


def test_a_run_that_is_being_trained_is_refused(run):
    with run.at_work(6, 9), pytest.raises(Error, match="being trained right now"):
        keep("disc", 5, run.workspace)


def test_the_choice_outlives_a_resume_and_its_checkpoint_too(small, images, tmp_path):
    """Stopped, kept, resumed: the later and better steps don't replace what the user chose."""
    settings = {"holdout": images.parent / "holdout", "checkpoint_every": 1, "keep_checkpoints": 1, "validate_every": 1}
    config = small(tmp_path, steps=2, **settings)
    sdlora.train(config, quiet=True)
    run = find_run("disc", tmp_path)
    keep("disc", "last", tmp_path)
    assert run.kept is None
    keep("disc", 2, tmp_path)
    assert run.kept == 2
    run.config_file.write_text(config_of(run, steps=5), encoding="utf-8")
    run.write_status("stopped", 2, 5)
    resumed = sdlora.train(small(tmp_path, **settings, steps=5), resume="disc", quiet=True)
    assert resumed.state == "finished" and resumed.steps == 2
    assert is_of_step(published(run), run, 2) and run.status()["adapter_step"] == 2
    assert {2, 5} <= set(Checkpoint.steps(run.checkpoints))
    assert keep("disc", "best", tmp_path).instead_of == 2 and run.kept is None


def config_of(run, **changes):
    return run.config().model_copy(update=changes).toml()


def test_a_stopped_run_has_its_adapter_published(run):
    run.write_status("stopped", 6, 9)
    published(run).unlink()
    keep("disc", 5, run.workspace)
    assert run.status()["state"] == "stopped" and is_of_step(published(run), run, 5)
    assert json.loads(run.kept_file.read_text(encoding="utf-8")) == {"step": 5}


def test_a_run_without_held_out_images_knows_no_best(small, tmp_path):
    sdlora.train(small(tmp_path, steps=1, holdout=None, images=only(small, tmp_path)), quiet=True)
    with pytest.raises(Error, match="it knows no best step: name a step"):
        keep("disc", "best", tmp_path)


def only(small, tmp_path):
    """The images without the folder of held-out ones beside them."""
    return shutil.copytree(small(tmp_path).images, tmp_path / "alone" / "discs")
