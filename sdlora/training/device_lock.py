"""One training at a time on a device, whichever program started it.

Each device has a small file in a folder that all programs of this machine share: who holds it, and who waits, in the
order in which they came. A look or a change takes a moment and is guarded by a lock of the operating system, so no two
believe that it is their turn. Who holds a device gives a sign every few seconds; when its process is gone, or has given
none for minutes, the next in line takes over.
"""

import json
import os
import re
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..errors import Error
from ..files import write_text
from .heartbeat import BEAT_SECONDS, beating, is_silent, is_there

FOLDER_VARIABLE = "SDLORA_LOCKS"
POLL_SECONDS = 1.0
SECOND_LOOK_SECONDS = 2.5 * BEAT_SECONDS  # a computer that slept makes everybody look silent for a moment
GUARD_SECONDS = 30.0
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Holder:
    """Who holds a device, or waits for it, with what (`training ink`), since when and with which last sign of life
    (both in seconds since 1970)."""

    what: str
    pid: int = field(default_factory=os.getpid)
    host: str = field(default_factory=socket.gethostname)
    since: float = field(default_factory=time.time)
    heartbeat: float = field(default_factory=time.time)
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __str__(self) -> str:
        began, now = datetime.fromtimestamp(self.since), datetime.now()
        form = "%H:%M" if began.date() == now.date() else "%Y-%m-%d %H:%M"
        return f"{self.what} (process {self.pid}, since {began.strftime(form)})"

    @property
    def gone(self) -> bool:
        """Whether its process has ended; of another machine's, a container's say, that can't be known."""
        return self.host == socket.gethostname() and not is_there(self.pid, self.heartbeat)

    @property
    def silent(self) -> bool:
        """Whether it has given no sign for minutes."""
        return is_silent(self.heartbeat)


class DeviceBusy(Error):
    """Somebody else has the device."""

    def __init__(self, device: str, holder: Holder) -> None:
        super().__init__(f"{device} is held by {holder}: wait until it has ended, or stop it")
        self.holder = holder


@contextmanager
def hold(
    devices: str | Sequence[str], what: str, *, tell: Tell = lambda text: None, wait: bool = True
) -> Iterator[bool]:
    """Within it, the devices (`cpu`, `mps`, `cuda`, `cuda:1`) are ours alone; gives whether there was a wait for them.

    `tell` hears who holds a device while that is waited for. Raises `DeviceBusy` at once with `wait=False`. Where no
    lock can be kept, on a disk that is full say, that is told and the work goes on without one.
    """
    waited = False
    with ExitStack() as held:
        # in one order for all, so that no two can each hold what the other waits for
        for device in sorted({devices} if isinstance(devices, str) else set(devices)):
            waited |= held.enter_context(_one(device, what, tell, wait))
        yield waited


def holder_of(device: str) -> Holder | None:
    """Who holds the device now; None where it is free, or its holder's process is gone."""
    holder = _Turns(device).look()[0]
    return None if holder is None or holder.gone else holder


def waiting_for(device: str) -> list[Holder]:
    """Who waits for the device, the next one first."""
    return [one for one in _Turns(device).look()[1] if not (one.gone or one.silent)]


def lock_folder() -> Path:
    """Where the files are: the same for all users of a machine, or what SDLORA_LOCKS names."""
    if given := os.environ.get(FOLDER_VARIABLE):
        return Path(given)
    if os.name == "nt":
        return Path(os.environ.get("PROGRAMDATA") or tempfile.gettempdir()) / "sdlora" / "locks"
    return Path("/tmp/sdlora-locks")  # not $TMPDIR, which is each user's own on a Mac


@contextmanager
def _one(device: str, what: str, tell: Tell, wait: bool) -> Iterator[bool]:
    turns, me = _Turns(device), Holder(what)
    try:
        waited = _my_turn(turns, me, tell, wait)
    except (OSError, Timeout) as problem:
        tell(f"no lock for {device} can be kept in {lock_folder()} ({problem}): other trainings on it go unnoticed")
        yield False
        return
    except BaseException:
        turns.leave(me)
        raise
    try:
        with beating(lambda: turns.beat(me)):
            yield waited
    finally:
        turns.leave(me)


def _my_turn(turns: "_Turns", me: Holder, tell: Tell, wait: bool) -> bool:
    """Wait until the device is ours; whether that took any waiting."""
    told, seen, since = "", 0.0, time.monotonic()
    while True:
        waited_enough = time.monotonic() - since > SECOND_LOOK_SECONDS
        ahead, taken_from = turns.ask(me, past_silent=waited_enough)
        if taken_from:
            reason = "whose process is gone" if taken_from.gone else "which has given no sign of life for minutes"
            tell(f"{turns.device} was held by {taken_from}, {reason}: taken over")
        if ahead is None:
            if told:
                tell(f"{turns.device} is free: going on")
            return bool(told)
        if not wait:
            raise DeviceBusy(turns.device, ahead)
        if ahead.token != told:
            told = ahead.token
            tell(f"{turns.device} is held by {ahead}: waiting for it to end")
        if ahead.heartbeat != seen:
            seen, since = ahead.heartbeat, time.monotonic()
        time.sleep(POLL_SECONDS)


class _Turns:
    """The file of one device."""

    def __init__(self, device: str) -> None:
        self.device = _whole_name(device)
        name = re.sub(r"[^\w.-]", "-", _physical(self.device))
        self._file = lock_folder() / f"{name}.json"
        self._guard = FileLock(self._file.with_suffix(".guard"), timeout=GUARD_SECONDS, mode=0o666)

    def look(self) -> tuple[Holder | None, list[Holder]]:
        """Who holds it, and who waits; both of them as they were written."""
        try:
            content = json.loads(self._file.read_text(encoding="utf-8"))
            holder = content["holder"] and Holder(**content["holder"])
            return holder, [Holder(**one) for one in content["waiting"]]
        except (OSError, ValueError, TypeError, KeyError):
            return None, []

    def ask(self, me: Holder, *, past_silent: bool) -> tuple[Holder | None, Holder | None]:
        """Take the device if it is our turn, else stand in line: who is before us, and whom it was taken from."""
        with self._guarded():
            holder, waiting = self.look()
            lost = holder if holder and (holder.gone or (past_silent and holder.silent)) else None
            line = [one for one in waiting if one.token != me.token and not (one.gone or one.silent)]
            before = [one for one in line if one.since <= me.since]
            ahead = holder if holder and not lost else before[0] if before else None
            if ahead is None:
                self._write(me, line)
                return None, lost
            known = next((one for one in waiting if one.token == me.token), None)
            if known is None or time.time() - known.heartbeat > BEAT_SECONDS:
                line.append(replace(me, heartbeat=time.time()))
                self._write(holder, sorted(line, key=lambda one: one.since))
            return ahead, None

    def beat(self, me: Holder) -> None:
        """A sign of life, unless it was taken over."""
        with suppress(Timeout), self._guarded():
            holder, waiting = self.look()
            if holder and holder.token == me.token:
                self._write(replace(me, heartbeat=time.time()), waiting)

    def leave(self, me: Holder) -> None:
        """Let go of it, or of the place in the line."""
        with suppress(OSError, Timeout), self._guarded():
            holder, waiting = self.look()
            mine = holder is not None and holder.token == me.token
            self._write(None if mine else holder, [one for one in waiting if one.token != me.token])

    def _write(self, holder: Holder | None, waiting: list[Holder]) -> None:
        content: dict[str, Any] = {"holder": holder and asdict(holder), "waiting": [asdict(one) for one in waiting]}
        write_text(self._file, json.dumps(content, indent=2) + "\n")

    def _guarded(self) -> FileLock:
        folder = self._file.parent
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            with suppress(OSError):
                folder.chmod(0o777)  # every user of the machine takes turns
        return self._guard


def _whole_name(device: str) -> str:
    return "cuda:0" if device == "cuda" else device


def _physical(device: str) -> str:
    """The GPU that a program means by `cuda:0` where CUDA_VISIBLE_DEVICES shows it some of them only."""
    kind, _, index = device.partition(":")
    visible = [part.strip() for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    if kind == "cuda" and index.isdecimal() and int(index) < len(visible) and visible[int(index)]:
        return f"cuda:{visible[int(index)]}"
    return device
