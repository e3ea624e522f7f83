"""How much memory is left, and where things that are kept for mixing may lie."""

from typing import Literal

import psutil
import torch

from ..adapters.algebra.mixed import Scratch
from ..sampling.memory import RESERVE, free_bytes

Where = Literal["beside", "host", "nowhere"]
RESERVE_OF_HOST = 1 << 30  # bytes that must stay free there; on a device, what a picture needs


def where(size: int, of_device: int | None, of_host: int) -> Where:
    """Where `size` bytes go: `beside` the weights, in the `host`'s memory, or `nowhere`.

    `of_device` are the free bytes of a device with memory of its own, None where that is the host's; `of_host` the
    host's free bytes.
    """
    fits_host = size + RESERVE_OF_HOST <= of_host
    if of_device is None:
        return "beside" if fits_host else "nowhere"
    if size + RESERVE <= of_device:
        return "beside"
    return "host" if fits_host else "nowhere"


class Room:
    """Memory for setting one mix: what was free when it was first asked for, less what was taken since, and a buffer.

    Asking the system for each of hundreds of modules would take longer than mixing them.
    """

    def __init__(self) -> None:
        self.scratch = Scratch()
        self._of_host = psutil.virtual_memory().available
        self._of_device: dict[torch.device, int | None] = {}

    def where(self, size: int, device: torch.device) -> Where:
        """Where `size` bytes go that belong to weights on `device`."""
        return where(size, self._free_on(device), self._of_host)

    def take(self, size: int, device: torch.device) -> Where:
        """The same, and they are counted as taken."""
        chosen, free = self.where(size, device), self._free_on(device)
        if chosen == "beside" and free is not None:
            self._of_device[device] = free - size
        elif chosen != "nowhere":
            self._of_host -= size
        return chosen

    def _free_on(self, device: torch.device) -> int | None:
        if device not in self._of_device:
            self._of_device[device] = free_bytes(device)
        return self._of_device[device]
