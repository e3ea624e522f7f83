"""The device does one thing at a time: a queue of work with one thread behind it."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

Result = TypeVar("Result")


class DeviceThread:
    """Runs what it is given in the order it came. Only this thread touches a base, so no lock is needed elsewhere.

    A daemon, unlike `ThreadPoolExecutor`'s threads: Ctrl-C must not wait for the picture that is being drawn.
    """

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._unfinished: list[Future[Any]] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._work, name="device", daemon=True).start()

    def submit(self, work: Callable[[], Result]) -> "Future[Result]":
        """Put `work` at the end of the queue. Its future can be cancelled as long as it waits."""
        future: Future[Result] = Future()
        with self._lock:
            self._unfinished = [*(other for other in self._unfinished if not other.done()), future]
            self._queue.put((future, work))
        return future

    @property
    def length(self) -> int:
        """How many wait or run."""
        with self._lock:
            return sum(not other.done() for other in self._unfinished)

    def ahead_of(self, future: "Future[Any]") -> int:
        """How many come before this one, the running one included."""
        with self._lock:
            waiting = [other for other in self._unfinished if other is future or not other.done()]
        return waiting.index(future) if future in waiting else 0

    def _work(self) -> None:
        while True:
            future, work = self._queue.get()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as problem:
                    future.set_exception(problem)
            del future, work  # or the last picture's tensors would live until the next one
