"""Which device to compute on."""

import torch

from .errors import Error


def pick_device(name: str = "auto") -> torch.device:
    """`auto` takes the first of CUDA, MPS and CPU that is there. Raises `Error` for a device that is not."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise Error(f"There is no kind of device called {name!r}: use cuda, cuda:1, mps or cpu") from None
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (device.index or 0) >= there.get(device.type, 0):
        raise Error(f"The device {name!r} is not here (torch sees {there['cuda']} CUDA devices): see `sdlora check`")
    return device
