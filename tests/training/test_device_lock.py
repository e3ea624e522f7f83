"""One at a time on a device: turns are taken, waited for, and taken over from those that are gone."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from sdlora.training import device_lock, heartbeat
from sdlora.training.device_lock import DeviceBusy, hold, holder_of, waiting_for

PATIENCE = 60

HOLDING = """
import sys
from sdlora.training.device_lock import hold
with hold("cpu", "training ink"):
    print("held", flush=True)
    sys.stdin.readline()
"""

CONTENDING = """
import os, sys, time
from sdlora.training import device_lock
device_lock.POLL_SECONDS = 0.01
for _ in range(4):
    with device_lock.hold("cpu", "contending"):
        os.close(os.open(sys.argv[1], os.O_CREAT | os.O_EXCL))
        time.sleep(0.02)
        os.unlink(sys.argv[1])
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SDLORA_LOCKS", str(tmp_path / "locks"))
    monkeypatch.setattr(device_lock, "POLL_SECONDS", 0.02)


@pytest.fixture
def other():
    """Another process that holds the CPU."""
    process = subprocess.Popen([sys.executable, "-c", HOLDING], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_whoever_asks_is_told_who_holds_it():
    assert holder_of("cpu") is None
    with hold("cpu", "training ink") as waited:
        holder = holder_of("cpu")
        assert (holder.what, holder.pid, waited) == ("training ink", os.getpid(), False)
        assert str(holder).startswith(f"training ink (process {os.getpid()}, since ")
        assert holder_of("cuda:0") is None
    assert holder_of("cpu") is None


def test_it_is_free_again_after_an_error():
    with pytest.raises(ZeroDivisionError), hold("cpu", "training ink"):
        raise ZeroDivisionError
    assert holder_of("cpu") is None


def test_the_first_gpu_has_two_names(monkeypatch):
    with hold("cuda", "drawing"):
        assert holder_of("cuda:0").what == "drawing" and holder_of("cuda:1") is None
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
        assert holder_of("cuda:0") is None and holder_of("cuda:1").what == "drawing"


def test_several_devices_at_once():
    with hold(["cuda:1", "cuda:0"], "training ink"):
        assert holder_of("cuda:0").what == holder_of("cuda:1").what == "training ink"
    assert holder_of("cuda:0") is holder_of("cuda:1") is None


def test_who_does_not_wait_is_refused(other):
    with pytest.raises(DeviceBusy, match=rf"cpu is held by training ink \(process {other.pid}, since") as refused:
        hold("cpu", "drawing", wait=False).__enter__()
    assert refused.value.holder.pid == other.pid
    assert waiting_for("cpu") == [] and holder_of("cpu").pid == other.pid


def test_a_second_one_waits_and_goes_on(other):
    told = []
    threading.Timer(0.3, lambda: other.communicate(b"\n")).start()
    with hold("cpu", "training oil", tell=told.append) as waited:
        assert waited and holder_of("cpu").what == "training oil"
    assert told[0].startswith(f"cpu is held by training ink (process {other.pid}") and "waiting" in told[0]
    assert told[1:] == ["cpu is free: going on"]


def test_turns_are_taken_in_the_order_of_coming():
    order, threads = [], []

    def work(name):
        with hold("cpu", name):
            order.append(name)

    with hold("cpu", "first"):
        for name in ("second", "third", "fourth"):
            threads.append(threading.Thread(target=work, args=(name,)))
            threads[-1].start()
            until(lambda name=name: name in [one.what for one in waiting_for("cpu")])
        assert [one.what for one in waiting_for("cpu")] == ["second", "third", "fourth"]
    for thread in threads:
        thread.join(PATIENCE)
    assert order == ["second", "third", "fourth"] and waiting_for("cpu") == []


def test_taken_over_from_a_process_that_was_killed(other):
    other.kill()
    other.wait()
    assert holder_of("cpu") is None
    told = []
    with hold("cpu", "training oil", tell=told.append) as waited:
        assert not waited
    assert len(told) == 1 and f"process {other.pid}" in told[0] and "whose process is gone: taken over" in told[0]


def test_a_number_that_was_given_to_another_process_holds_nothing(tmp_path, other):
    """The holder's last sign is older than the process that has its number now."""
    file = tmp_path / "locks" / "cpu.json"
    content = file.read_text(encoding="utf-8").replace(str(holder_of("cpu").heartbeat), str(time.time() - 3600))
    file.write_text(content, encoding="utf-8")
    assert holder_of("cpu") is None
    with hold("cpu", "training oil", wait=False):
        assert holder_of("cpu").what == "training oil"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows can't halt a process")
def test_taken_over_from_a_process_that_gives_no_sign(other, monkeypatch):
    monkeypatch.setattr(heartbeat, "SILENT_SECONDS", 0.3)
    monkeypatch.setattr(device_lock, "SECOND_LOOK_SECONDS", 0.5)
    other.send_signal(signal.SIGSTOP)
    told = []
    with hold("cpu", "training oil", tell=told.append) as waited:
        assert waited and "no sign of life for minutes: taken over" in told[1]
        other.send_signal(signal.SIGCONT)
        other.communicate(b"\n")  # it comes back to life, and ends: the device is not its own any more
        assert holder_of("cpu").what == "training oil"


def test_a_holder_gives_signs(monkeypatch):
    monkeypatch.setattr(device_lock, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(heartbeat.beating.__wrapped__, "__defaults__", (0.02,))
    with hold("cpu", "training ink"):
        first = holder_of("cpu").heartbeat
        until(lambda: holder_of("cpu").heartbeat > first)


def test_never_two_at_once(tmp_path):
    inside = tmp_path / "inside"
    processes = [subprocess.Popen([sys.executable, "-c", CONTENDING, str(inside)]) for _ in range(3)]
    assert [process.wait(PATIENCE) for process in processes] == [0, 0, 0]


def test_without_a_folder_the_work_goes_on(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("SDLORA_LOCKS", str(tmp_path / "file"))
    told = []
    with hold("cpu", "training ink", tell=told.append) as waited:
        assert not waited and "no lock for cpu can be kept in" in told[0]
    assert holder_of("cpu") is None


def test_a_damaged_file_is_nobody_s_turn(tmp_path):
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "cpu.json").write_text('{"holder": {"pid"', encoding="utf-8")
    with hold("cpu", "training ink", wait=False):
        assert holder_of("cpu").what == "training ink"
