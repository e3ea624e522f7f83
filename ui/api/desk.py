"""What clients have asked to be drawn and is not finished: what `progress`, `interrupt` and `skip` speak of."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..job import Job, Picture


@dataclass
class Order:
    """The pictures of one request, in the order in which they are drawn."""

    jobs: Sequence[Job[Picture]]
    interrupted: bool = False
    skipped: int = 0
    begun: float = field(default_factory=time.time)

    @property
    def current(self) -> Job[Picture] | None:
        """The picture that is drawn or waits first; None when all is done."""
        return next((job for job in self.jobs if not job.done), None)

    @property
    def finished(self) -> int:
        """How many pictures are done, or given up."""
        return sum(job.done for job in self.jobs)

    def cancel(self) -> None:
        """Give up what is not done."""
        for job in self.jobs:
            job.cancel()


class Desk:
    """All orders, the oldest first: the device takes them in that order. Pages' pictures are none of theirs."""

    def __init__(self) -> None:
        self._orders: list[Order] = []
        self._lock = threading.Lock()

    def add(self, order: Order) -> Order:
        with self._lock:
            self._orders.append(order)
        return order

    def remove(self, order: Order) -> None:
        with self._lock:
            self._orders.remove(order)

    @property
    def waiting(self) -> int:
        """How many pictures are not done, of all orders."""
        with self._lock:
            return sum(len(order.jobs) - order.finished for order in self._orders)

    @property
    def current(self) -> Order | None:
        """The order that is drawn or waits first."""
        with self._lock:
            return next((order for order in self._orders if order.current), None)

    def interrupt(self) -> None:
        """The order that is drawn comes to its end with the pictures that it has."""
        if order := self.current:
            order.interrupted = True
            order.cancel()

    def skip(self) -> None:
        """The picture that is drawn is left out."""
        if (order := self.current) and (job := order.current):
            order.skipped += 1
            job.cancel()
