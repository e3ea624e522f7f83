"""What a piece of work takes at most is measured, whichever way the system has."""

import threading

import psutil
import pytest
import torch

from sdlora.training import memory_use
from sdlora.training.memory_use import held_memory, peak_memory, room, room_within

CPU = torch.device("cpu")
LARGE = 300 << 20


def work():
    first = torch.ones(LARGE // 4)
    del first
    torch.ones(LARGE // 16)


@pytest.mark.parametrize("way", ["the kernel's", "a thread's"])
def test_a_peak_that_is_gone_at_the_end_is_seen(way, monkeypatch, tmp_path):
    if way == "a thread's":
        monkeypatch.setattr(memory_use, "CLEAR", tmp_path / "missing" / "clear_refs")
    torch.ones(LARGE // 4)  # a peak from before does not count
    before, peak = peak_memory(work, CPU)
    assert 0.8 * LARGE < peak - before < 1.3 * LARGE
    # looked at by the same way, which trims first: a large process keeps in its heap what fitted into a hole of it
    left, small = peak_memory(lambda: torch.ones(1000), CPU)
    assert left - before < LARGE / 2 and small - before < LARGE / 2


def test_an_error_leaves_no_watcher_behind(monkeypatch, tmp_path):
    monkeypatch.setattr(memory_use, "CLEAR", tmp_path / "missing" / "clear_refs")
    threads = set(threading.enumerate())
    with pytest.raises(ZeroDivisionError):
        peak_memory(lambda: 1 / 0, CPU)
    assert not set(threading.enumerate()) - threads


def test_there_is_no_more_room_than_a_container_leaves(monkeypatch, tmp_path):
    free = room(CPU)
    assert held_memory(CPU) < free <= psutil.virtual_memory().total
    monkeypatch.setattr(memory_use, "CONTAINER", tmp_path)
    for name, text in (("memory.max", str(500 << 20)), ("memory.current", str(400 << 20)), ("memory.stat", "anon 5\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert room(CPU) - held_memory(CPU) == pytest.approx(100 << 20, abs=8 << 20)
    (tmp_path / "memory.stat").write_text(f"anon 5\nfile {50 << 20}\n", encoding="utf-8")
    assert room(CPU) - held_memory(CPU) == pytest.approx(150 << 20, abs=8 << 20)
    (tmp_path / "memory.max").write_text("max\n", encoding="utf-8")
    assert room(CPU) > 500 << 20


def test_a_gpu_s_budget_pays_for_what_pytorch_does_not_count():
    assert room_within(6 << 30, CPU) == 6 << 30
    assert room_within(6 << 30, torch.device("cuda")) < 6 << 30
