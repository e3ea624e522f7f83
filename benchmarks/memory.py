"""The peak of a process's memory over a stretch of work. Linux only: elsewhere a peak can't be set back."""

import ctypes
import gc
import re
from collections.abc import Callable
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def can_measure() -> bool:
    return CLEAR.exists()


def peak_memory(work: Callable[[], object]) -> tuple[int, int]:
    """Resident bytes before `work`, and at most during it."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what set-up gave back must not hide what the work takes
    CLEAR.write_text("5", encoding="utf-8")  # sets the peak back to what is resident now, see proc(5)
    before = _resident("VmRSS")
    work()
    return before, _resident("VmHWM")


def _resident(what: str) -> int:
    found = re.search(rf"^{what}:\s*(\d+) kB", STATUS.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024
