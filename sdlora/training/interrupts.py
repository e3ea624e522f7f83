"""Ctrl-C and a polite kill, noted so that the step in progress can end well."""

import signal
import threading
from types import FrameType
from typing import Any, Self

from .progress import Reporter


class Interrupts:
    """Within `with`, the first SIGINT or SIGTERM sets `asked`; a second one raises `KeyboardInterrupt` at once.

    Python delivers signals to the main thread only: a training in another one is stopped by its `control.json`.
    """

    def __init__(self, reporter: Reporter) -> None:
        self.asked = False
        self._reporter = reporter
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: a handler that was not set from Python

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self._reporter.say("stopping after this step and saving what was learned (again to stop at once)")
