"""How much memory a piece of work takes at most, and how much there is.

- CUDA: PyTorch's own count of allocated bytes.
- CPU on Linux: the kernel's peak of resident bytes (`VmHWM`), set back to what is resident through
  `/proc/self/clear_refs`, see proc(5).
- CPU elsewhere, and MPS: a thread that looks every few milliseconds, so a shorter peak can be missed.
"""

import ctypes
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import torch

from ..sampling.memory import free_bytes, free_caches

STATUS, CLEAR, CONTAINER = Path("/proc/self/status"), Path("/proc/self/clear_refs"), Path("/sys/fs/cgroup")
LOOK_EVERY = 0.003  # seconds
CUDA_CONTEXT = 1 << 29  # bytes that the driver and CUDA's libraries take beside what PyTorch counts, about


def peak_memory(work: Callable[[], object], device: torch.device) -> tuple[int, int]:
    """Bytes before `work`, and at most during it. Also where `work` raises, nothing is left behind."""
    free_caches()
    _trim()  # what set-up gave back must not hide what the work takes
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = held_memory(device)
        work()
        return before, torch.cuda.max_memory_allocated(device)
    before = held_memory(device)
    if device.type == "cpu" and _peak_set_back():
        work()
        return before, _resident_peak()
    with _watched(device) as seen:
        work()
    return before, max(seen)


def how_measured(device: torch.device) -> str:
    """In words, for whoever reads the figure."""
    if device.type == "cuda":
        return "bytes that PyTorch allocated"
    if device.type == "cpu" and CLEAR.exists():
        return "resident bytes of the process, by the kernel"
    return "bytes that the process held, looked at every few milliseconds"


def held_memory(device: torch.device) -> int:
    """Bytes that this process holds now."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    return psutil.Process().memory_info().rss


def room(device: torch.device) -> int:
    """Bytes that this process may hold in all: what it holds, and what is free beside that."""
    if device.type == "cuda":
        return held_memory(device) + (free_bytes(device) or 0)
    if device.type == "mps":
        return torch.mps.recommended_max_memory()
    free = psutil.virtual_memory().available
    contained = _free_in_container()
    return held_memory(device) + (free if contained is None else min(free, contained))


def room_within(budget: int, device: torch.device) -> int:
    """What is left of a budget for what is counted here."""
    return budget - (CUDA_CONTEXT if device.type == "cuda" else 0)


def hold_to(budget: int | None, device: torch.device) -> None:
    """On CUDA, have the allocator refuse what goes beyond a budget, as a smaller GPU would; None: no limit."""
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        share = 1.0 if budget is None else min(1.0, room_within(budget, device) / total)
        torch.cuda.set_per_process_memory_fraction(share, device)


def _trim() -> None:
    """Have glibc give back what is free; other libraries do so by themselves, or can't."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _peak_set_back() -> bool:
    """Whether the kernel's peak could be set to what is resident now."""
    try:
        CLEAR.write_text("5", encoding="utf-8")
    except OSError:
        return False
    return True


def _resident_peak() -> int:
    found = re.search(r"^VmHWM:\s*(\d+) kB", STATUS.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


@contextmanager
def _watched(device: torch.device) -> Iterator[list[int]]:
    """The bytes that are held from time to time while this lasts, the last time at its end."""
    seen, done = [held_memory(device)], threading.Event()

    def look() -> None:
        while not done.wait(LOOK_EVERY):
            seen.append(max(seen.pop(), held_memory(device)))

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()
        seen.append(held_memory(device))


def _free_in_container() -> int | None:
    """What a container with a limit of its own (cgroup v2) leaves; files that are only cached count as free."""
    try:
        limit, held = (int((CONTAINER / name).read_text(encoding="utf-8")) for name in ("memory.max", "memory.current"))
        cached = re.search(r"^file (\d+)", (CONTAINER / "memory.stat").read_text(encoding="utf-8"), re.MULTILINE)
    except (OSError, ValueError):  # no such file, or "max"
        return None
    return max(0, limit - held + (int(cached[1]) if cached else 0))
