"""`preset = "auto"`: what it tries, what it keeps to, and that a killed search goes on."""

import json
import signal
import threading
import time

import pytest
import torch

import sdlora
from sdlora.errors import Error
from sdlora.training.autopilot.pilot import CLEARLY, better
from sdlora.training.autopilot.questions import questions
from sdlora.training.autopilot.record import Record, Trial
from sdlora.training.autopilot.timing import FIRST
from sdlora.training.checkpoints import Checkpoint
from sdlora.training.config import TrainConfig
from sdlora.training.config_values import seconds_of
from sdlora.training.defaults import resolve
from sdlora.training.longer import lengthen
from sdlora.training.material import gather
from sdlora.training.run_folder import RunFolder

STEPS = 16
SEARCHED = ("rank", "alpha", "targets", "learning_rate", "text_encoder_learning_rate", "schedule")
PATIENCE = 300  # seconds after which a process is taken for stuck


@pytest.fixture
def auto(small, images):
    """Settings of a search: `auto(workspace, learning_rate=…)`; what is not given is searched for."""

    def settings(workspace, **changes):
        given = small(workspace, images=images, holdout=images.parent / "holdout", **{"steps": STEPS})
        values = given.model_dump(exclude_unset=True, exclude={"checkpoint_every", *SEARCHED})
        values |= {"preset": "auto", "schedule": "cosine", "prior_preservation": 0.0, "checkpoint_every": 2}
        return TrainConfig(**(values | {"rank": 4, "targets": ["attention"], "time_budget": "1h"} | changes))

    return settings


def rows(run, key):
    return [row["step"] for row in run.metrics() if key in row]


def test_the_best_learning_rate_goes_on_to_the_end(auto, tmp_path):
    done = sdlora.train(auto(tmp_path), quiet=True)
    run, record = RunFolder(done.folder), Record.read(done.folder)
    assert done.state == "finished" and done.adapter_path.is_file() and done.steps <= STEPS
    assert {trial.question for trial in record.trials} == {"as it begins", "learning rate"}
    probed = record.probe_steps
    (best,) = (trial for trial in record.trials if trial.changes == record.chosen)
    gained = max(0.0, record.base_loss - best.loss_at(probed))
    assert all(best.loss_at(probed) - trial.loss_at(probed) <= CLEARLY * gained for trial in record.trials)
    config = run.config()
    assert config.learning_rate == best.changes["learning_rate"] and (config.rank, config.targets) == (4, ["attention"])
    assert rows(run, "loss") == list(range(1, STEPS + 1)), "no step was done twice or thrown away"
    assert rows(run, "holdout_loss")[0] == 0 and rows(run, "holdout_loss")[-1] == STEPS
    assert not (run.path / "probes").exists()
    page = run.report_file.read_text(encoding="utf-8")
    assert "What was tried" in page and f"learning_rate = {best.changes['learning_rate']:g}" in page


@pytest.mark.slow
def test_everything_that_is_open_is_tried_and_what_was_given_stays(auto, tmp_path):
    changes = {"rank": "auto", "targets": "auto", "learning_rate": 1e-3, "text_encoder_learning_rate": 0.0}
    done = sdlora.train(auto(tmp_path, **changes), quiet=True)
    record, config = Record.read(done.folder), RunFolder(done.folder).config()
    assert {trial.question for trial in record.trials} == {"as it begins", "targets", "rank"}
    assert (config.learning_rate, config.text_encoder_learning_rate) == (1e-3, 0.0)
    assert all(trial.changes["alpha"] == trial.changes["rank"] for trial in record.trials), "at the same scale"


@pytest.mark.slow
def test_it_stays_within_its_time(auto, tmp_path):
    """Generously: what a step takes is measured once, and this machine may be busy."""
    began = time.monotonic()
    done = sdlora.train(auto(tmp_path, steps="auto", time_budget="40s"), quiet=True)
    assert done.state == "finished" and time.monotonic() - began < 80
    assert Record.read(done.folder).budget == 40


def test_of_a_time_that_is_too_short_no_more_is_taken_than_tells_how_long_a_step_takes(auto, tmp_path):
    done = sdlora.train(auto(tmp_path, steps="auto", time_budget="1s"), quiet=True)
    record = Record.read(done.folder)
    assert (record.questions, record.probe_steps) == (0, FIRST)
    assert done.state == "finished" and RunFolder(done.folder).config().steps <= FIRST + FIRST // 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"preset": "style"}, "preset = auto"),
        ({"time_budget": "soon"}, "20min"),
        ({"time_budget": "0s"}, "20min"),
    ],
)
def test_a_budget_that_can_not_be_is_refused(auto, tmp_path, changes, words):
    with pytest.raises(Error, match=words):
        sdlora.train(auto(tmp_path, **changes), quiet=True)


def test_times_are_read():
    assert [seconds_of(t) for t in ("90s", "1.5 min", "2H", "auto", "")] == [90, 90, 7200, None, None]


@pytest.mark.parametrize(
    ("losses", "takes"), [((0.9, 0.896), False), ((0.9, 0.89), True), ((1.2, 1.205), False), ((1.2, 1.19), True)]
)
def test_only_what_is_clearly_better_is_taken(losses, takes):
    """Than what was gained from a base at 1; where nothing was, than what it is."""
    one, other = (Trial("rank", {}, losses=[(8, loss)]) for loss in losses)
    assert better(one, other, 8, 1.0) is (other if takes else one)
    assert better(one, Trial("rank", {}, problem="none"), 8, 1.0) is one


def test_without_held_out_images_there_is_nothing_to_compare_by(auto, images, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    for file in sorted(images.iterdir())[:4]:
        (few / file.name).write_bytes(file.read_bytes())
    with pytest.raises(Error, match="held-out images"):
        sdlora.train(auto(tmp_path, images=few, holdout=None), quiet=True)
    assert not (tmp_path / "runs").exists()


def train_it(config, resume):
    torch.set_num_threads(1)
    sdlora.train(config, resume=resume, quiet=True)


def killed_when(processes, config, due):
    """Train in a process of its own, and kill it as soon as `due`."""
    process = processes.Process(target=train_it, args=(config, False))
    process.start()
    limit = time.monotonic() + PATIENCE
    while process.is_alive() and not due():
        assert time.monotonic() < limit
        time.sleep(0.005)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, "it was over before it could be killed"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no kill -9")
def test_a_search_that_was_killed_ends_with_the_same_bits(auto, tmp_path, processes):
    def go_on(workspace):
        process = processes.Process(target=train_it, args=(auto(workspace), True))
        process.start()
        process.join()
        assert process.exitcode == 0
        run = RunFolder(workspace / "runs" / "disc")
        return Record.read(run.path), sdlora.load_adapter(workspace / "adapters" / "disc.safetensors").updates

    expected, whole = go_on(tmp_path / "whole")
    for number, trials in enumerate((1, 2)):
        workspace = tmp_path / str(number)
        file = workspace / "runs" / "disc" / "autopilot.json"

        def due(file=file, trials=trials):
            return file.is_file() and sum(bool(t["losses"]) for t in json.loads(file.read_text())["trials"]) >= trials

        killed_when(processes, auto(workspace), due)
        record, updates = go_on(workspace)
        assert [t.losses for t in record.trials] == [t.losses for t in expected.trials]
        assert record.chosen == expected.chosen
        assert all(torch.equal(updates[p].up, u.up) and torch.equal(updates[p].down, u.down) for p, u in whole.items())


def test_a_search_that_is_stopped_leaves_what_is_best_so_far_and_goes_on_even_longer(auto, tmp_path):
    run, heard = RunFolder(tmp_path / "runs" / "disc"), []

    def ask():
        while not (run.path / "autopilot.json").is_file() or run.state == "preparing":
            time.sleep(0.005)
        heard.append(run.state)
        run.control_file.write_text('{"stop": true}', encoding="utf-8")

    threading.Thread(target=ask, daemon=True).start()
    stopped = sdlora.train(auto(tmp_path), quiet=True)
    assert stopped.state == "stopped" and stopped.adapter_path.is_file()
    assert heard == ["running"], "so that watchers ask, and do not end the process"
    assert Record.read(run.path).chosen is None
    lengthen(run, longer := STEPS + 4)
    done = sdlora.train(auto(tmp_path, steps=longer), resume=True, quiet=True)
    assert done.state == "finished" and Record.read(run.path).chosen is not None
    assert rows(run, "loss") == list(range(1, longer + 1))
    assert Checkpoint.newest_step(run.checkpoints) == longer


def test_what_finds_its_rate_itself_is_not_asked_for_one(auto, tmp_path, mini):
    pytest.importorskip("prodigyopt")
    config = auto(tmp_path, optimiser="prodigy", learning_rate=1.0, text_encoder_learning_rate=1.0)
    resolved, _ = resolve(config, mini, gather(config), torch.device("cpu"), 1)
    assert [question.words for question in questions(resolved, (), mini)] == ["targets", "rank"]
