"""Signs of life: who works on something says so every few seconds, also while one long thing is being done."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil

BEAT_SECONDS = 5.0
SILENT_SECONDS = 180.0  # whoever has given no sign for so long is stuck, though its process may be there still


@contextmanager
def beating(beat: Callable[[], None], every: float = BEAT_SECONDS) -> Iterator[None]:
    """Within it, a thread of its own calls `beat` again and again; a disk that is full for a moment stops nothing."""
    done = threading.Event()

    def go_on() -> None:
        while not done.wait(every):
            with suppress(OSError):
                beat()

    thread = threading.Thread(target=go_on, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def is_there(pid: int, heartbeat: float) -> bool:
    """Whether the process that gave this sign at `heartbeat` (seconds since 1970) still exists; a later process may
    have been given its number."""
    try:
        process = psutil.Process(pid)
        return process.create_time() <= heartbeat and process.status() != psutil.STATUS_ZOMBIE
    except psutil.AccessDenied:  # another user's
        return True
    except psutil.Error:
        return False


def is_silent(heartbeat: float) -> bool:
    """Whether the last sign is too long ago."""
    return time.time() - heartbeat > SILENT_SECONDS
