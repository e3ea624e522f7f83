"""The run folder: names, requests, metrics, and who may go on with a run."""

import json
import os
import subprocess
import sys
import time

import pytest

from sdlora.errors import Error
from sdlora.training.config import ResolvedConfig, TrainConfig
from sdlora.training.finding import run_to_resume
from sdlora.training.run_folder import Control, RunFolder

CHOSEN = {
    "bucket_step": 64,
    "bucket_min": 64,
    "bucket_max": 128,
    "flip": True,
    "caption_dropout": 0.1,
    "validate_every": 1,
    "sample_every": 1,
    "gradient_checkpointing": False,
    "quantised": "off",
    "token_vectors": 1,
    "token_learning_rate": 0.0,
    "vae_tiles": False,
    "prior_preservation": 0.0,
}


@pytest.fixture
def resolved(small, tmp_path):
    def make(**changes):
        return ResolvedConfig(**(small(tmp_path / "ws").model_dump() | CHOSEN | changes))

    return make


@pytest.fixture
def run(resolved):
    return RunFolder.create(resolved())


def test_a_new_run_has_its_config_and_its_folders(run, resolved):
    assert run.config() == resolved() and run.samples.is_dir() and run.checkpoints.is_dir()
    assert run.status() == {} and run.control() == Control() and list(run.metrics()) == []


def test_a_taken_name_gets_a_number(resolved, tmp_path):
    names = [RunFolder.create(resolved()).name for _ in range(3)]
    assert names == ["disc", "disc-2", "disc-3"]
    adapters = tmp_path / "ws" / "adapters"
    adapters.mkdir()
    (adapters / "ink.safetensors").write_bytes(b"")
    assert RunFolder.create(resolved(name="ink")).name == "ink-2"


def test_a_workspace_that_is_a_file_is_a_sentence(resolved, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(Error, match="give another workspace"):
        RunFolder.create(resolved(workspace=str(tmp_path / "file")))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"stop": true}', Control(stop=True)),
        ('{"pause": true, "sample": 3}', Control(pause=True, sample=3)),
        ('{"stop": tr', Control()),
        ("", Control()),
        ("[1]", Control()),
        ('{"sample": "soon", "stop": null}', Control()),
        ('{"sample": [1]}', Control()),
    ],
)
def test_requests(run, text, expected):
    run.control_file.write_text(text, encoding="utf-8")
    assert run.control() == expected


def test_metrics_survive_a_half_written_line(run):
    run.append_metrics({"step": 1, "loss": 0.5})
    run.append_metrics({"step": 2, "loss": float("inf")})
    with run.metrics_file.open("a", encoding="utf-8") as file:
        file.write('{"step": 3, "lo')
    assert list(run.metrics()) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": None}]
    run.tidy(1)
    assert run.metrics_file.read_text(encoding="utf-8") == '{"step": 1, "loss": 0.5}\n'
    run.tidy(-1)
    assert list(run.metrics()) == []


def test_tidying_takes_half_written_checkpoints_away(run):
    (run.checkpoints / ".step-000003.safetensors.abc.tmp").write_bytes(b"half")
    (run.checkpoints / "step-000002.safetensors").write_bytes(b"whole")
    run.tidy(2)
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-000002.safetensors"]


def test_held_out_losses_are_the_first_and_the_last(run):
    assert run.held_out_losses() == (None, None)
    run.append_metrics({"step": 0, "holdout_loss": 0.5})
    assert run.held_out_losses() == (0.5, None)
    run.append_metrics({"step": 1, "loss": 0.1})
    run.append_metrics({"step": 2, "holdout_loss": 0.4})
    assert run.held_out_losses() == (0.5, 0.4)


# --- which run is resumed ---------------------------------------------------------------------------------------


def find(which, tmp_path, name="disc"):
    return run_to_resume(which, name, tmp_path / "ws")


def test_a_bare_resume_takes_the_newest_unfinished_of_that_name(resolved, tmp_path):
    assert find(True, tmp_path) is None
    runs = [RunFolder.create(resolved()) for _ in range(3)]
    RunFolder.create(resolved(name="disc-9"))
    for age, run in enumerate(runs):
        os.utime(run.config_file, (1000 - age, 1000 - age))
    runs[0].write_status("finished", 3, 3)
    found = find(True, tmp_path)
    assert found is not None and found.path == runs[1].path
    for run in runs:
        run.write_status("finished", 3, 3)
    with pytest.raises(Error, match="disc is finished: start a new one"):
        find(True, tmp_path)


def test_a_run_by_folder_and_by_name(run, tmp_path, monkeypatch):
    assert find("disc", tmp_path).path == find(str(run.path), tmp_path).path == run.path.resolve()
    monkeypatch.chdir(run.path)
    assert find(".", tmp_path / "elsewhere").name == "disc"
    with pytest.raises(Error, match="There is no run 'dsic'"):
        find("dsic", tmp_path)
    run.write_status("finished", 3, 3)
    with pytest.raises(Error, match="disc is finished"):
        find("disc", tmp_path)


def test_a_run_that_is_trained_by_another_process_is_refused(run):
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        time.sleep(0.05)
        facts = {"state": "running", "pid": other.pid, "heartbeat": time.time()}
        run.status_file.write_text(json.dumps(facts), encoding="utf-8")
        with pytest.raises(Error, match=f"disc is being trained right now.*{other.pid}"):
            run.refuse_if_running()
        # the number was another process's when this status was written
        run.status_file.write_text(json.dumps(facts | {"heartbeat": time.time() - 3600}), encoding="utf-8")
        run.refuse_if_running()
        run.status_file.write_text(json.dumps(facts | {"state": "stopped"}), encoding="utf-8")
        run.refuse_if_running()
    finally:
        other.communicate(b"\n")
    run.status_file.write_text(json.dumps(facts | {"heartbeat": time.time()}), encoding="utf-8")
    run.refuse_if_running()


# --- with which settings ----------------------------------------------------------------------------------------


def test_a_resume_keeps_the_settings(run, small, tmp_path):
    bare = TrainConfig(name="disc", images=small(tmp_path).images)
    assert run.config_to_resume(bare) == run.config()


@pytest.mark.parametrize(
    ("key", "value"), [("steps", 9), ("learning_rate", 1.0), ("targets", ["attention"]), ("preset", "character")]
)
def test_a_setting_that_was_changed_is_refused_by_name(run, small, tmp_path, key, value):
    with pytest.raises(Error, match=f"disc was started with {key} = .*, not "):
        run.config_to_resume(small(tmp_path, **{key: value}))


def test_what_does_not_change_the_training_may_change(run, small, tmp_path):
    resumed = run.config_to_resume(small(tmp_path / "ws", device="cuda", save_dtype="fp16"))
    assert resumed.device == "cuda" and resumed.save_dtype == "fp16"


def test_a_run_that_was_moved_finishes_where_it_lies(run, small, tmp_path):
    moved = (tmp_path / "ws").rename(tmp_path / "moved")
    found = find(str(moved / "runs" / "disc"), tmp_path)
    assert found.config_to_resume(small("unused")).workspace == str((tmp_path / "moved").resolve())


def test_words_that_happen_to_name_a_folder_stay_words(resolved, small, tmp_path, monkeypatch):
    run = RunFolder.create(resolved(trigger="disc"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "disc").mkdir()
    assert run.config_to_resume(small(tmp_path, trigger="disc")).trigger == "disc"
