"""A run that was killed, stopped or interrupted goes on as if nothing had happened."""

import json
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch
from PIL import Image, ImageDraw

import sdlora
from sdlora.errors import Error
from sdlora.training.checkpoints import Checkpoint
from sdlora.training.layers import KINDS
from sdlora.training.preparation import viewing_of
from sdlora.training.run_folder import RunFolder

STEPS = 6
PATIENCE = 300  # seconds after which a process is taken for stuck
KILLS = 5
CAPTION = "{{{colour}|bright {colour}}} disc, flat, on white\none {colour} thing, small"
CONSTANT = {"schedule": "constant"}
OPTIMISERS = {
    "adamw": {},
    "adamw8bit": {},
    "adafactor": {},
    "lion": {"learning_rate": 2e-4, "text_encoder_learning_rate": 2e-4},
    "prodigy": {"learning_rate": 1.0, "text_encoder_learning_rate": 1.0, **CONSTANT},
    "schedule-free": {"ema": 0.0, **CONSTANT},  # it averages itself
    "torch.optim.RAdam": {"optimiser_args": {"betas": [0.8, 0.99]}},
}
WAYS = {name: {"optimiser": name, **changes} for name, changes in OPTIMISERS.items()}
WAYS |= {kind: {"kind": kind} for kind in KINDS if kind != "lora"}
WAYS["full"] |= {"rank": "auto", "alpha": "auto"}  # it has none
WAYS["bottleneck"] |= {"alpha": "auto"}
WAYS["tokens"] = {"targets": ["unet.mid_block", "tokens"], "trigger": "wug", "token_vectors": 2}
WAYS["class images"] = {"class_prompt": "a thing", "class_count": 3, "prior_preservation": 1.0}
WAYS["4bit"] = {"quantised": "4bit"}
LIBRARIES = {"4bit": "torchao", "adamw8bit": "bitsandbytes", "prodigy": "prodigyopt", "schedule-free": "schedulefree"}


@pytest.fixture(scope="module")
def varied(tmp_path_factory):
    """Images of two shapes, with captions of several lines, of tags and of alternatives; two held out."""
    root = tmp_path_factory.mktemp("varied")
    for folder, colours, shape in (
        ("discs", ("red", "green", "blue"), (128, 128)),
        ("discs", ("orange", "purple"), (192, 64)),
        ("holdout", ("yellow",), (128, 128)),
        ("holdout", ("brown",), (192, 64)),
    ):
        (root / folder).mkdir(exist_ok=True)
        for colour in colours:
            image = Image.new("RGB", shape, "white")
            ImageDraw.Draw(image).ellipse((8, 8, shape[0] - 20, shape[1] - 12), fill=colour)
            image.save(root / folder / f"{colour}.png")
            (root / folder / f"{colour}.txt").write_text(CAPTION.format(colour=colour), encoding="utf-8")
    return root / "discs"


def everything(small, workspace, varied, **changes):
    """A training in which all that is random takes part: accumulation, text encoder, buckets, crops, mirrors, captions,
    dropout; with an average of the weights."""
    settings = {
        "images": varied,
        "holdout": varied.parent / "holdout",
        "resolution": 128,
        "gradient_accumulation": 2,
        "crops": 2,
        "flip": True,
        "caption_dropout": 0.2,
        "caption_lines": "choose",
        "wildcards": True,
        "shuffle_tags": True,
        "tag_dropout": 0.3,
        "dropout": 0.3,
        "offset_noise": 0.05,
        "ema": 0.9,
        "schedule": "cosine",
        "warmup": 1,
        "steps": STEPS,
        "checkpoint_every": 2,
        "validate_every": 3,
    }
    return small(workspace, **(settings | changes))


@pytest.fixture(scope="module")
def uninterrupted(small, varied, tmp_path_factory):
    run = sdlora.train(everything(small, tmp_path_factory.mktemp("uninterrupted"), varied), quiet=True)
    (buckets,) = viewing_of(RunFolder(run.folder).config()).buckets
    assert buckets.size_for(128, 128) != buckets.size_for(192, 64), "two buckets take part"
    return run


def same(a, b):
    if isinstance(b, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in b)
    if isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def same_as(run, uninterrupted):
    """The same tensors, optimiser state and metrics (their times aside)."""
    ours, theirs = (Checkpoint.newest(RunFolder(r.folder).checkpoints) for r in (run, uninterrupted))
    assert ours is not None and theirs is not None and ours.step == theirs.step
    assert [key for key, tensor in theirs.weights.items() if not torch.equal(tensor, ours.weights[key])] == []
    assert same(ours.states, theirs.states)
    a, b = (sdlora.load_adapter(r.adapter_path).updates for r in (run, uninterrupted))
    assert a.keys() == b.keys()
    assert all(same(a[path].tensors(), b[path].tensors()) for path in b)
    rows, expected_rows = (
        [{k: v for k, v in row.items() if k != "seconds"} for row in RunFolder(r.folder).metrics()]
        for r in (run, uninterrupted)
    )
    assert rows == expected_rows
    return True


def rows_of(workspace):
    return [row for row in RunFolder(workspace / "runs" / "disc").metrics() if "loss" in row]


def wait_until(condition, process):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.is_alive() and time.monotonic() < deadline, "the training ended, or is stuck"
        time.sleep(0.01)


def started(processes, config, resume=False):
    process = processes.Process(target=sdlora.train, args=(config,), kwargs={"resume": resume, "quiet": True})
    process.start()
    return process


def test_killed_twice_and_resumed(processes, small, varied, tmp_path, uninterrupted):
    """kill -9 at random moments; the last part runs here, in this process."""
    config = everything(small, tmp_path, varied)
    moments = random.Random(time.time_ns())
    for attempt, fewest in enumerate([moments.randint(1, 3), moments.randint(3, STEPS - 1)]):
        process = started(processes, config, resume=bool(attempt))
        wait_until(lambda fewest=fewest: len(rows_of(tmp_path)) >= fewest, process)
        time.sleep(moments.uniform(0, 0.3))
        process.kill()
        process.join()
    assert same_as(sdlora.train(config, resume=True, quiet=True), uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize("name", WAYS)
def test_killed_five_times_and_resumed(processes, small, varied, tmp_path, name):
    """kill -9 at five random moments, with each kind of optimiser and of adapter."""
    if name in LIBRARIES:
        pytest.importorskip(LIBRARIES[name])
    changes = {"steps": 3 * STEPS, **WAYS[name]}
    whole = sdlora.train(everything(small, tmp_path / "whole", varied, **changes), quiet=True)
    config = everything(small, tmp_path, varied, **changes)
    run = RunFolder(tmp_path / "runs" / "disc")
    moments = random.Random(time.time_ns())
    for attempt, fewest in enumerate(sorted(moments.sample(range(1, 3 * STEPS - 1), KILLS))):
        process = started(processes, config, resume=bool(attempt))
        wait_until(lambda fewest=fewest: len(rows_of(tmp_path)) >= fewest, process)
        time.sleep(moments.uniform(0, 0.5))
        process.kill()
        process.join()
        assert run.status()["state"] in ("preparing", "running"), f"killed at {fewest}"  # what is there may suffice
    assert same_as(sdlora.train(config, resume=True, quiet=True), whole)


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(3))
def test_killed_at_any_moment_whatsoever(processes, small, varied, tmp_path, uninterrupted, attempt):
    """From the moment that the run's folder is there, set-up and checkpoint writing included."""
    config = everything(small, tmp_path, varied, checkpoint_every=1)
    moments = random.Random(time.time_ns())
    run = RunFolder(tmp_path / "runs" / "disc")
    for again in (False, True):
        process = started(processes, config, resume=again)
        wait_until(run.config_file.is_file, process)
        process.join(timeout=moments.uniform(0, 12))
        process.kill()
        process.join()
        if run.status().get("state") == "finished":
            break
    else:
        sdlora.train(config, resume=True, quiet=True)
    finished = sdlora.TrainedRun(run.path, tmp_path / "adapters" / "disc.safetensors", "finished", STEPS, None, None)
    assert same_as(finished, uninterrupted)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signal that one process could send another")
def test_ctrl_c_saves_and_says_where(small, varied, tmp_path, uninterrupted):
    config = everything(small, tmp_path, varied, checkpoint_every=100)
    settings = tmp_path / "disc.toml"
    settings.write_text(config.toml(), encoding="utf-8")
    command = [sys.executable, "-m", "sdlora.cli", "train", str(settings)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, encoding="utf-8") as process:
        deadline = time.monotonic() + PATIENCE
        while len(rows_of(tmp_path)) < 2 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    run = RunFolder(tmp_path / "runs" / "disc")
    step = run.status()["step"]
    assert run.status()["state"] == "stopped" and 2 <= step < STEPS
    assert f"stopped at step {step}: what was learned is in {run.adapter_file}" in said and "--resume disc" in said
    assert run.adapter_file.is_file() and not (tmp_path / "adapters").exists()
    assert Checkpoint.newest_step(run.checkpoints) == step
    assert same_as(sdlora.train(config, resume="disc", quiet=True), uninterrupted)


def test_a_run_that_is_being_trained_is_refused(processes, small, varied, tmp_path):
    config = everything(small, tmp_path, varied, steps=500)
    process = started(processes, config)
    try:
        wait_until(lambda: len(rows_of(tmp_path)) >= 1, process)
        with pytest.raises(Error, match=f"disc is being trained right now.*{process.pid}"):
            sdlora.train(config, resume=True, quiet=True)
    finally:
        process.kill()
        process.join()


def asked(workspace, **requests):
    RunFolder(workspace / "runs" / "disc").control_file.write_text(json.dumps(requests), encoding="utf-8")


class Watcher(threading.Thread):
    """Does one thing after another to a run, each when its metrics have come far enough: {row count: action}."""

    def __init__(self, workspace, actions):
        super().__init__(daemon=True)
        self.workspace, self.actions, self.problem = workspace, actions, None

    def run(self):
        for rows, action in self.actions.items():
            deadline = time.monotonic() + PATIENCE
            while len(rows_of(self.workspace)) < rows:
                if time.monotonic() > deadline:
                    self.problem = "the training is stuck"
                    return
                time.sleep(0.005)
            action()


def watched(config, workspace, actions, **options):
    watcher = Watcher(workspace, actions)
    watcher.start()
    run = sdlora.train(config, quiet=True, **options)
    watcher.join(5)
    assert watcher.problem is None
    return run


def test_stopped_by_a_watcher_and_resumed(small, varied, tmp_path, uninterrupted):
    config = everything(small, tmp_path, varied)
    stopped = watched(config, tmp_path, {3: lambda: asked(tmp_path, stop=True)})
    assert stopped.state == "stopped" and 3 <= stopped.steps < STEPS
    assert stopped.adapter_path == stopped.folder / "disc.safetensors" and stopped.adapter_path.is_file()
    assert not (tmp_path / "adapters").exists()
    assert (stopped.folder / "loss.png").is_file()
    assert sdlora.load_adapter(stopped.adapter_path).metadata["ss_steps"] == str(stopped.steps)
    # the request was the old process's: it does not stop the new one
    resumed = sdlora.train(config, resume=True, quiet=True)
    assert resumed.state == "finished" and resumed.folder.name == "disc"
    assert same_as(resumed, uninterrupted)


def test_stopped_before_the_first_step(small, images, tmp_path, monkeypatch):
    config = small(tmp_path, steps=2, holdout=images.parent / "holdout")
    create = RunFolder.create

    def and_stop(resolved):
        run = create(resolved)
        asked(tmp_path, stop=True)
        return run

    monkeypatch.setattr(RunFolder, "create", staticmethod(and_stop))
    stopped = sdlora.train(config, quiet=True)
    assert stopped.state == "stopped" and stopped.steps == 0
    assert stopped.holdout_loss_before is not None and stopped.holdout_loss_after is None
    resumed = sdlora.train(config, resume=True, quiet=True)
    steps = [row["step"] for row in RunFolder(resumed.folder).metrics() if "holdout_loss" in row]
    assert steps == sorted(set(steps)) and steps[0] == 0 and resumed.state == "finished"


def test_pause_and_go_on(small, tmp_path):
    run = RunFolder(tmp_path / "runs" / "disc")
    seen = {}

    def pause():
        asked(tmp_path, pause=True)
        deadline = time.monotonic() + PATIENCE
        while run.status().get("state") != "paused" and time.monotonic() < deadline:
            time.sleep(0.01)
        seen["state"], seen["rows"] = run.status().get("state"), len(rows_of(tmp_path))
        time.sleep(0.7)
        seen["later"] = len(rows_of(tmp_path))
        asked(tmp_path, pause=False)

    finished = watched(small(tmp_path, steps=5), tmp_path, {2: pause})
    assert seen["state"] == "paused" and seen["rows"] == seen["later"] < 5
    assert finished.state == "finished" and finished.steps == 5


def test_a_picture_is_drawn_when_the_counter_changes(small, tmp_path):
    config = small(tmp_path, steps=6, sample_prompts=["red disc --s 2"], sample_every=100)
    finished = watched(config, tmp_path, {2: lambda: asked(tmp_path, sample=1)})
    steps = {int(path.name.split("-")[1]) for path in (finished.folder / "samples").glob("*.png")}
    assert {0, 6} < steps and len(steps) == 3 and min(steps - {0, 6}) >= 2


def test_it_runs_in_a_thread_too(small, tmp_path):
    """Signals go to the main thread alone; the training must not try to catch them elsewhere."""
    results = []
    thread = threading.Thread(target=lambda: results.append(sdlora.train(small(tmp_path, steps=1), quiet=True)))
    thread.start()
    thread.join(PATIENCE)
    assert results and results[0].state == "finished"


def test_handlers_of_signals_are_put_back(small, tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    sdlora.train(small(tmp_path, steps=1), quiet=True)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_rows_beyond_the_checkpoint_are_dropped(small, tmp_path):
    config = small(tmp_path, steps=3, checkpoint_every=2)
    whole = sdlora.train(config, quiet=True)
    run = RunFolder(whole.folder)
    expected = Checkpoint.newest(run.checkpoints)
    (run.checkpoints / "step-000003.safetensors").unlink()
    run.append_metrics({"step": 3, "loss": 123.0})
    run.write_status("running", 3, 3)
    again = sdlora.train(config, resume=True, quiet=True)
    rows = rows_of(tmp_path)
    assert [row["step"] for row in rows] == [1, 2, 3] and 123.0 not in [row["loss"] for row in rows]
    ours = Checkpoint.newest(RunFolder(again.folder).checkpoints)
    assert all(torch.equal(ours.weights[key], expected.weights[key]) for key in expected.weights)


def test_a_finished_run_is_not_resumed(small, tmp_path):
    config = small(tmp_path, steps=1)
    sdlora.train(config, quiet=True)
    for which in (True, "disc", str(tmp_path / "runs" / "disc")):
        with pytest.raises(Error, match="disc is finished: start a new one without --resume"):
            sdlora.train(config, resume=which, quiet=True)


def test_a_bare_resume_with_no_run_starts_one(small, tmp_path):
    assert sdlora.train(small(tmp_path, steps=1), resume=True, quiet=True).state == "finished"


def test_a_changed_setting_is_refused_by_name(small, tmp_path):
    config = small(tmp_path, steps=1)
    run = sdlora.train(config, quiet=True)
    RunFolder(run.folder).write_status("stopped", 1, 1)
    with pytest.raises(Error, match=r"disc was started with learning_rate = 0\.001, not 0\.5"):
        sdlora.train(config.model_copy(update={"learning_rate": 0.5}), resume=True, quiet=True)


def test_the_same_relative_folder_is_the_same_setting(small, images, tmp_path, monkeypatch):
    monkeypatch.chdir(images.parent)
    config = small(tmp_path, images="discs", steps=1)
    run = RunFolder(sdlora.train(config, quiet=True).folder)
    run.write_status("stopped", 1, 1)
    assert sdlora.train(config, resume=True, quiet=True).state == "finished"
