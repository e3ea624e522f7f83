"""What is true of a run, whatever its status says: working, stuck, dead, ended."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from sdlora.errors import Error
from sdlora.training import heartbeat
from sdlora.training.run_folder import RunFolder

PATIENCE = 60


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "runs" / "disc"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text("", encoding="utf-8")
    return RunFolder(folder)


@pytest.fixture
def other(run):
    """Another process that says that it trains the run."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    deadline = time.monotonic() + PATIENCE
    while not heartbeat.is_there(process.pid, time.time()) and time.monotonic() < deadline:
        time.sleep(0.01)
    facts = {"state": "running", "step": 3, "steps": 9, "pid": process.pid, "heartbeat": time.time()}
    run.status_file.write_text(json.dumps(facts), encoding="utf-8")
    yield process
    process.kill()
    process.wait()
    process.stdin.close()


def test_before_and_after(run):
    assert run.state == "new"
    for ended in ("stopped", "finished", "failed"):
        run.write_status(ended, 3, 3)
        assert run.state == ended


def test_this_process_works_on_it_only_within_at_work(run):
    run.write_status("running", 1, 3)
    assert run.state == "dead", "what an earlier training of this process left"
    with run.at_work(1, 3):
        assert run.state == RunFolder(run.path).state == "preparing"
        run.write_status("running", 2, 3)
        with pytest.raises(Error, match=f"being trained right now.*{os.getpid()}"):
            RunFolder(run.path).refuse_if_running()
    assert run.state == "dead"


def test_another_process_that_lives_and_then_does_not(run, other):
    assert run.state == "running"
    other.kill()
    other.wait()
    assert run.state == "dead"
    run.refuse_if_running()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows can't halt a process")
def test_a_process_that_gives_no_sign_is_stuck(run, other, monkeypatch):
    other.send_signal(signal.SIGSTOP)
    assert run.state == "running"
    monkeypatch.setattr(heartbeat, "SILENT_SECONDS", 0.0)
    assert run.state == "stuck"
    run.refuse_if_running()


def test_who_was_taken_for_dead_writes_no_more(run, other):
    """It comes back to life, and finds that another process goes on with its run."""
    theirs = run.status()
    run.status_file.unlink()
    run.write_status("running", 1, 3)
    run.status_file.write_text(json.dumps(theirs), encoding="utf-8")
    with pytest.raises(Error, match=f"Process {other.pid} goes on with the run disc"):
        run.write_status("running", 2, 3)
    assert run.status() == theirs


def test_signs_of_life_during_one_long_thing(run, monkeypatch):
    monkeypatch.setattr(heartbeat.beating.__wrapped__, "__defaults__", (0.02,))
    with run.at_work(0, 3):
        first = run.status()["heartbeat"]
        deadline = time.monotonic() + PATIENCE
        while run.status()["heartbeat"] == first and time.monotonic() < deadline:
            time.sleep(0.01)
        assert run.status()["heartbeat"] > first and run.status()["state"] == "preparing"
    assert "heartbeat" not in [thread.name for thread in threading.enumerate()]


def test_a_folder_that_is_gone_is_not_made_again(run, monkeypatch):
    monkeypatch.setattr(heartbeat.beating.__wrapped__, "__defaults__", (0.02,))
    with run.at_work(0, 3):
        shutil.rmtree(run.path)
        time.sleep(0.1)
        for write in (lambda: run.write_status("running", 1, 3), lambda: run.append_metrics({"step": 1})):
            with pytest.raises(Error, match=r"The folder of the run disc is gone from .*runs: if it was moved"):
                write()
        assert not run.path.exists()


def test_what_was_the_adapter_stays_known(run, tmp_path):
    run.write_status("finished", 3, 3, adapter="disc.safetensors", adapter_step=2, message="")
    again = RunFolder(run.path)
    again.write_status("running", 4, 9)
    assert again.status()["adapter_step"] == 2 and "message" not in again.status()
    again.note_adapter(tmp_path / "x.safetensors", 4)
    assert again.status()["adapter_step"] == 4 and again.status()["state"] == "running"
