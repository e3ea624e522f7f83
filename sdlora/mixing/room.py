"""How much memory is left, and where things that are kept for mixing may lie."""

from typing import Literal

import psutil
import torch

Where = Literal["beside", "host", "nowhere"]
# Bytes that must stay free: drawing needs room too, on a GPU for a picture's activations.
RESERVE_OF_DEVICE, RESERVE_OF_HOST = 2 << 30, 1 << 30


def where(size: int, of_device: int | None, of_host: int) -> Where:
    """Where `size` bytes go: `beside` the weights, in the `host`'s memory, or `nowhere`.

    `of_device` are the free bytes of a device with memory of its own, None where that is the host's; `of_host` the
    host's free bytes.
    """
    fits_host = size + RESERVE_OF_HOST <= of_host
    if of_device is None:
        return "beside" if fits_host else "nowhere"
    if size + RESERVE_OF_DEVICE <= of_device:
        return "beside"
    return "host" if fits_host else "nowhere"


class Room:
    """The free memory as it was when first asked for, less what was taken since. CUDA's part was not run by its author.

    Asking the system for each of hundreds of modules would take longer than mixing them; so there is one `Room` for
    each setting of a mix.
    """

    def __init__(self) -> None:
        self._free: dict[torch.device, int] = {}

    def take(self, size: int, device: torch.device) -> Where:
        """Where `size` bytes go that belong to weights on `device`; they are counted as taken."""
        host = torch.device("cpu")
        own = self._left(device) if device.type == "cuda" else None  # MPS shares the host's memory
        chosen = where(size, own, self._left(host))
        if chosen != "nowhere":
            self._free[device if chosen == "beside" and own is not None else host] -= size
        return chosen

    def _left(self, device: torch.device) -> int:
        if device not in self._free:
            self._free[device] = _free_on_gpu(device) if device.type == "cuda" else psutil.virtual_memory().available
        return self._free[device]


def _free_on_gpu(device: torch.device) -> int:
    """What the driver has left, and what PyTorch holds without using it."""
    return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
