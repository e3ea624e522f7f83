"""Several trainings one after another."""

import json
import os
import signal
import sys
import threading
import time

import pytest

from sdlora.errors import Error
from sdlora.training.several import train_several


@pytest.fixture
def files(small, tmp_path):
    """`files("a", b={…})` writes a config file each."""

    def write(**changes):
        written = []
        for name, values in changes.items():
            path = tmp_path / f"{name}.toml"
            path.write_text(small(tmp_path / "ws", **{"name": name, "steps": 1, **values}).toml(), encoding="utf-8")
            written.append(path)
        return written

    return write


def states(outcomes):
    return [outcome.run.state if outcome.run else "failed" for outcome in outcomes]


def test_one_that_fails_does_not_stop_the_others(files, tmp_path):
    configs = files(
        one={}, two={"images": str(tmp_path / "nowhere")}, three={"learning_rate": 1e30, "steps": 5}, four={}
    )
    (tmp_path / "broken.toml").write_text("name = ", encoding="utf-8")
    outcomes = train_several([*configs, tmp_path / "broken.toml"], {}, quiet=True)
    assert states(outcomes) == ["finished", "failed", "failed", "finished", "failed"]
    assert "There is no folder" in outcomes[1].problem and "learning_rate" in outcomes[2].problem
    assert "broken.toml is not valid TOML" in outcomes[4].problem
    assert sorted(path.name for path in (tmp_path / "ws" / "adapters").iterdir()) == [
        "four.safetensors",
        "one.safetensors",
    ]


def test_a_mistake_of_ours_does_not_stop_the_others_either(files, monkeypatch):
    from sdlora.training import several

    train = several.train

    def stumbling(config, **options):
        if config.name == "one":
            raise ZeroDivisionError("our mistake")
        return train(config, **options)

    monkeypatch.setattr(several, "train", stumbling)
    outcomes = train_several(files(one={}, two={}), {}, quiet=True)
    assert states(outcomes) == ["failed", "finished"] and outcomes[0].problem == "our mistake"


def test_flags_hold_for_all(files):
    outcomes = train_several(files(one={}, two={}), {"steps": 2, "rank": 2}, quiet=True)
    assert [outcome.run.steps for outcome in outcomes] == [2, 2]
    outcomes = train_several(files(one={}), {"rnk": 2}, quiet=True)
    assert "did you mean 'rank'" in outcomes[0].problem


def act(run, rows, action):
    """Do it once the run has as many rows."""

    def watch():
        deadline = time.monotonic() + 120
        file = run / "metrics.jsonl"
        while time.monotonic() < deadline:
            if file.is_file() and len(file.read_text(encoding="utf-8").splitlines()) >= rows:
                action()
                return
            time.sleep(0.01)

    threading.Thread(target=watch, daemon=True).start()


def test_a_run_that_a_watcher_stops_is_followed_by_the_next(files, tmp_path):
    run = tmp_path / "ws" / "runs" / "one"
    act(run, 2, lambda: (run / "control.json").write_text(json.dumps({"stop": True}), encoding="utf-8"))
    outcomes = train_several(files(one={"steps": 500}, two={}), {}, quiet=True)
    assert states(outcomes) == ["stopped", "finished"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signal that one process could send another")
def test_ctrl_c_ends_them_all(files, tmp_path):
    act(tmp_path / "ws" / "runs" / "one", 2, lambda: os.kill(os.getpid(), signal.SIGINT))
    outcomes = train_several(files(one={"steps": 500}, two={}), {}, quiet=True)
    assert states(outcomes) == ["stopped", "failed"] and "not begun" in outcomes[1].problem
    assert not (tmp_path / "ws" / "runs" / "two").exists()


def test_a_problem_is_no_exception(tmp_path):
    try:
        (outcome,) = train_several([tmp_path / "none.toml"], {}, quiet=True)
    except Error:
        pytest.fail("raised")
    assert outcome.sentence.endswith(f"failed: There is no config file {tmp_path / 'none.toml'}")
