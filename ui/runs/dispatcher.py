"""Keeps the queue going: starts the next run when the device is free, and lends the device to who draws."""

import logging
import threading
from collections.abc import Callable

from .queue import RunQueue

ROUND = 0.5  # seconds from one look at the queue to the next

log = logging.getLogger(__name__)


class Dispatcher:
    """One thread of the server. `let_go` has the pictures that are asked for drawn, and frees the device;
    `drawing` says whether somebody draws. Runs go on when it is closed.

    While `holder` names a run the device is the run's, and nothing may be drawn.
    """

    def __init__(
        self,
        queue: RunQueue,
        let_go: Callable[[], None] = lambda: None,
        drawing: Callable[[], bool] = lambda: False,
        ended: Callable[[str], None] = lambda run: None,
    ) -> None:
        self.queue = queue
        self._let_go, self._drawing, self._ended = let_go, drawing, ended
        self._next = ""
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="queue", daemon=True)

    def start(self) -> None:
        """Begin to look after the queue."""
        self._thread.start()

    def close(self) -> None:
        """Look after it no more."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def holder(self) -> str | None:
        """The run that has the device, or is about to."""
        running = self.queue.running()
        return running.run if running else self._next or None

    def borrow(self) -> None:
        """Ask for the device: the run that has it saves, frees it, and goes on by itself later."""
        self.queue.lend()

    def give_back(self) -> None:
        """Let the run go on now."""
        self.queue.give_back()

    def round(self) -> None:
        """Look once what has ended and what can begin."""
        for run in self.queue.settle():
            self._ended(run)
        if self._drawing() and self.queue.lent():
            self.queue.lend()
        following = self.queue.next()
        if following is None:
            return
        self._next = following.run
        try:
            self._let_go()
            self.queue.start_next()
        finally:
            self._next = ""

    def _work(self) -> None:
        while not self._closed.wait(ROUND):
            try:
                self.round()
            except Exception:  # a full disk, a queue file edited by hand: the next round may do better
                log.exception("The queue of runs could not be looked after")
