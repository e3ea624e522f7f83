"""`status.json`: what a run's process says of itself, and what is true of the run whatever it said last."""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import Error
from ..files import write_text
from .heartbeat import beating, is_silent, is_there
from .json_files import read_json

WRITTEN_SECONDS = 2.0  # a status is written no more often, unless it must be
WORKING = ("preparing", "running", "paused")  # states in which a process works on the run
LASTING = ("adapter", "adapter_step")  # what a status says until there is another adapter
_AT_WORK: set[Path] = set()  # the runs that this process trains right now


class RunStatus:
    """The status of the run in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "status.json"
        self._written = 0.0
        self._facts: dict[str, Any] = {}  # as they would be written now
        self._writing = threading.Lock()

    def read(self) -> dict[str, Any]:
        """As it was last written, which a process that was killed could not correct; empty where there is none."""
        return read_json(self._file)

    @property
    def state(self) -> str:
        """What is true now; see `RunFolder.state`."""
        status = self.read()
        said = str(status.get("state", "new"))
        if said not in WORKING or self._folder.resolve() in _AT_WORK:
            return said
        pid, heartbeat = status.get("pid", -1), status.get("heartbeat", 0.0)
        if pid == os.getpid() or not is_there(pid, heartbeat):
            return "dead"
        return "stuck" if is_silent(heartbeat) else said

    @contextmanager
    def at_work(self, step: int, steps: int) -> Iterator[None]:
        """Within it, this process works on the run and gives a sign of life every few seconds, whatever it does."""
        _AT_WORK.add(self._folder.resolve())
        try:
            self.write("preparing", step, steps)
            with beating(self._beat):
                yield
        finally:
            _AT_WORK.discard(self._folder.resolve())

    def write(self, state: str, step: int, steps: int, *, force: bool = True, **more: Any) -> None:
        """State, step and heartbeat; with `force=False` at most every two seconds.

        Raises `Error` where the folder is gone, or another process has taken the run for dead and goes on with it.
        """
        with self._writing:
            before = self._facts or self.read()
            lasting = {key: before[key] for key in LASTING if key in before}
            self._facts = lasting | {"state": state, "step": step, "steps": steps, **more}
            if force or time.time() - self._written >= WRITTEN_SECONDS:
                self._write()

    def write_failure(self, message: str) -> None:
        """Why it ended before its time, where no status says so yet."""
        facts = self._facts or self.read()
        if facts.get("state") != "failed":
            self.write("failed", facts.get("step", 0), facts.get("steps", 0), message=message)

    def note_adapter(self, file: Path, step: int) -> None:
        """Which file is the run's adapter, and of which step; all else stays as it is."""
        facts = self.read() | {"adapter": str(file), "adapter_step": step}
        write_text(self._file, json.dumps(facts, indent=2) + "\n")

    @property
    def last_step(self) -> int:
        """The step that was last said to be reached."""
        return int((self._facts or self.read()).get("step", 0))

    def refuse_if_gone(self) -> None:
        """Raises `Error` where the folder is no longer there: nothing may be written into a shell of it."""
        if not (self._folder / "config.toml").is_file():
            name, place = self._folder.name, self._folder.parent
            raise Error(
                f"The folder of the run {name} is gone from {place}: if it was moved, move it back and go on with "
                f"--resume {name}; if it was deleted, start anew"
            )

    def _beat(self) -> None:
        with self._writing, suppress(Error):  # the training itself meets it when it writes next
            if self._facts.get("state") in WORKING:
                self._write()

    def _write(self) -> None:
        self.refuse_if_gone()
        pid = os.getpid()
        if self._written and (other := self.read().get("pid", pid)) != pid:
            name = self._folder.name
            raise Error(f"Process {other} goes on with the run {name}: this one was taken for dead, and ends here")
        self._written = time.time()
        write_text(self._file, json.dumps(self._facts | {"heartbeat": self._written, "pid": pid}, indent=2) + "\n")
