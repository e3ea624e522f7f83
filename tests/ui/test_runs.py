"""The queue of runs with real processes: they train on mini, a few steps each."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sdlora import Error
from sdlora.training.config import TrainConfig
from ui.runs import Dispatcher, RunQueue, processes
from ui.runs.outcomes import keep_what_was_asked
from ui.runs.queue import MOST
from ui.runs.ticket import Ticket
from ui.runs.watching import columns, curves, log_text, standing

ROOT = Path(__file__).resolve().parents[2]
FEW_IMAGES = str(ROOT / "datasets" / "ink" / "holdout")  # too few to hold some out, so no time goes into measuring them
PATIENCE = 240  # seconds: a busy machine is no failure


@pytest.fixture(autouse=True)
def locks(tmp_path, monkeypatch):
    monkeypatch.setenv("SDLORA_LOCKS", str(tmp_path / "locks"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))


@pytest.fixture
def queue(tmp_path):
    queue = RunQueue(tmp_path / "workspace")
    yield queue
    for ticket in queue.tickets():
        if ticket.pid:
            processes.end(ticket.pid, ticket.created)


def config(name, **settings):
    quick = {"batch_size": 1, "sample_prompts": [], "attention": "plain", "precision": "fp32", "prior_preservation": 0}
    return TrainConfig(name=name, images=FEW_IMAGES, **quick | {"memory": "off", "steps": 3} | settings)


def until(true, dispatcher=None):
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "it never came"
        if dispatcher:
            dispatcher.round()
        time.sleep(0.1)


def doing(queue, run):
    return standing(queue, run).doing


def test_what_waits_can_be_put_in_another_order_and_taken_out(queue):
    for name in ("a", "b", "c"):
        queue.add(config(name))
    queue.move("c", -1)
    queue.move("a", -1)  # it is the first one already
    assert [ticket.run for ticket in queue.tickets()] == ["a", "c", "b"]
    assert [standing(queue, run).place for run in ("a", "c", "b")] == [0, 1, 2]
    queue.pause("a")
    queue.remove("c")
    assert [(ticket.run, ticket.state) for ticket in queue.tickets()] == [("a", "paused"), ("b", "waiting")]
    assert queue.next().run == "b"
    queue.resume("a")
    assert queue.next().run == "a"


def test_a_name_is_kept_free_for_each_run(queue):
    (queue.workspace / "runs" / "ink").mkdir(parents=True)
    (queue.workspace / "adapters").mkdir()
    (queue.workspace / "adapters" / "ink-2.safetensors").touch()
    assert [queue.add(config("ink")).run for _ in range(2)] == ["ink-3", "ink-4"]


def test_only_what_was_given_is_written_so_that_the_preset_decides_on_the_rest(queue):
    queue.add(TrainConfig(name="a", images=FEW_IMAGES, steps=3))
    written = TrainConfig.load(queue.config_file("a"))
    assert written.model_fields_set == {"name", "images", "steps", "workspace"}


def test_the_queue_has_an_end(queue):
    for number in range(MOST):
        queue.add(config(f"run {number}"))
    with pytest.raises(Error, match="in the queue already"):
        queue.add(config("one more"))


def test_a_damaged_queue_is_one_sentence(queue):
    queue.add(config("a"))
    (queue.folder / "queue.json").write_text("{", encoding="utf-8")
    with pytest.raises(Error, match="delete it, the runs themselves are safe"):
        queue.tickets()
    (queue.folder / "queue.json").unlink()


def test_what_a_later_version_wrote_is_passed_over():
    assert Ticket.read({"run": "a", "colour": "red"}) == Ticket("a")


def test_none_begins_while_the_device_is_lent(queue):
    queue.add(config("a"))
    queue.lend()
    assert queue.next() is None
    queue.give_back()
    assert queue.next().run == "a"


def test_the_device_is_let_go_before_a_run_begins_and_nobody_may_draw_from_then_on(queue):
    queue.add(config("a"))
    seen = []
    dispatcher = Dispatcher(queue, let_go=lambda: seen.append((dispatcher.holder(), queue.running())))
    assert dispatcher.holder() is None
    dispatcher.round()
    assert seen == [("a", None)]
    assert dispatcher.holder() == queue.running().run == "a"


@pytest.mark.slow
def test_two_runs_one_after_the_other_paused_resumed_and_kept(queue):
    """The whole life of a queue; several servers may look after it, each with a dispatcher of its own."""
    dispatcher = Dispatcher(queue, ended=lambda run: keep_what_was_asked(queue, run))
    other = Dispatcher(RunQueue(queue.workspace))
    queue.add(config("first", steps=3000, holdout=FEW_IMAGES))
    queue.add(config("second"))
    until(lambda: doing(queue, "first") == "training", dispatcher)
    until(lambda: standing(queue, "first").step >= 3, other)
    assert [ticket.state for ticket in queue.tickets()] == ["running", "waiting"]
    queue.pause("first")
    until(lambda: doing(queue, "first") == "paused" and doing(queue, "second") == "finished", dispatcher)
    stopped_at = standing(queue, "first").step
    assert 3 <= stopped_at < 3000
    assert (queue.workspace / "adapters" / "second.safetensors").is_file()
    assert not (queue.workspace / "adapters" / "first.safetensors").exists()

    queue.resume("first")
    until(lambda: doing(queue, "first") == "training" and standing(queue, "first").step > stopped_at, dispatcher)
    assert "resuming first at step" in log_text(queue.log_file("first"))
    assert {point.series for point in curves(queue.run_folder("first"))} >= {"loss, smoothed", "held-out loss"}
    queue.stop("first")
    until(lambda: queue.tickets() == [], dispatcher)
    assert doing(queue, "first") == "stopped"
    assert (queue.workspace / "adapters" / "first.safetensors").is_file()
    steps = [column.step for column in columns(queue.run_folder("first")) if column.keepable]
    assert steps[-1] == standing(queue, "first").step


@pytest.mark.slow
def test_a_run_that_makes_room_goes_on_by_itself(queue, monkeypatch):
    monkeypatch.setattr("ui.runs.queue.LEASE", 3.0)
    drawing = [False]
    dispatcher = Dispatcher(queue, drawing=lambda: drawing[0])
    queue.add(config("a", steps=12))
    queue.add(config("b"))
    until(lambda: doing(queue, "a") == "training", dispatcher)
    dispatcher.borrow()
    drawing[0] = True
    until(lambda: dispatcher.holder() is None, dispatcher)
    assert not processes.is_alive(queue.ticket("a").pid, queue.ticket("a").created)  # the device is really free
    until(lambda: queue.lent(), dispatcher)
    drawing[0] = False
    until(lambda: doing(queue, "a") == "finished", dispatcher)
    assert doing(queue, "b") == "waiting" or queue.running().run == "b"  # it had not overtaken


@pytest.mark.slow
def test_a_run_outlives_its_server_and_a_killed_one_is_recognised(queue, tmp_path):
    """Another process starts it and is gone; we find it at work, kill it, and it can be resumed."""
    queue.add(config("a", steps=5000, checkpoint_every=2))
    code = (
        f"from pathlib import Path; from ui.runs import RunQueue; RunQueue(Path({str(queue.workspace)!r})).start_next()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    until(lambda: standing(queue, "a").step >= 4, Dispatcher(queue))
    ticket = queue.ticket("a")
    psutil = pytest.importorskip("psutil")
    psutil.Process(ticket.pid).kill()
    until(lambda: doing(queue, "a") == "died", Dispatcher(queue))
    assert json.loads(queue.run_folder("a").status_file.read_text(encoding="utf-8"))["state"] == "running"
    queue.resume("a")
    until(lambda: doing(queue, "a") == "training", Dispatcher(queue))
    queue.stop("a")
    until(lambda: queue.ticket("a") is None, Dispatcher(queue))


def test_a_run_that_cannot_begin_says_why(queue, tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    queue.add(config("a").model_copy(update={"images": str(folder)}))
    until(lambda: doing(queue, "a") == "failed", Dispatcher(queue))
    assert standing(queue, "a").message.startswith("There is no image in")


@pytest.mark.slow
def test_a_finished_run_is_trained_longer(queue):
    dispatcher = Dispatcher(queue)
    queue.add(config("a"))
    until(lambda: doing(queue, "a") == "finished", dispatcher)
    queue.longer("a", 2)
    until(lambda: queue.tickets() == [], dispatcher)
    assert (doing(queue, "a"), standing(queue, "a").step) == ("finished", 5)
    with pytest.raises(Error, match="give 1 or more"):
        queue.longer("a", 0)
