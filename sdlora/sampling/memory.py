"""Drawing where memory is short: parts that wait on the CPU, a VAE that works in tiles, and one more try.

Parts are moved, never copied or changed, so a mix stays in them as it is. The bits of a picture do not depend on where
parts wait; in tiles they differ, on mini by 1 to 2/255 in the mean and 20/255 at most, since each tile has its own
norms. CUDA and MPS were not run: the author had no GPU, and tested on a device made of the CPU.
"""

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn

from ..bases import Base
from ..errors import Error

Part = Literal["text_encoders", "unet", "vae"]
Say = Callable[[str], None]
T = TypeVar("T")

RESERVE = 3 << 29  # 1.5 GB: what a picture of usual size needs beside the weights
TILE = 64  # latents along a side: 512 pixels
VAE_BYTES = 4100  # a pixel, of decoding in fp32 without tiles; encoding takes 2,600. Measured on a CPU at 512 pixels.
LARGE = 1536 * 1536  # pixels from which the VAE always works in tiles, so that it depends on nothing but the size
# How allocators say it: CUDA's and MPS's, CUDA's libraries', the CPU's on Linux and macOS, the CPU's on Windows.
RAN_OUT = ("out of memory", "STATUS_ALLOC_FAILED", "can't allocate memory", "not enough memory")


@dataclass
class _State:
    """Which part of a base is at work, and the pixels of the smallest picture that there was no memory for."""

    at_work: Part | None = None
    too_large: float = float("inf")


_states: "WeakKeyDictionary[Base, _State]" = WeakKeyDictionary()


def warn(sentence: str) -> None:
    """What happened, for whoever gave no way to say it."""
    warnings.warn(sentence, stacklevel=3)


def load_within(load: Callable[[torch.device], Base], device: torch.device, say: Say = warn) -> Base:
    """The base that `load` reads onto a device. Where there is no memory for it, or on CUDA too little left to draw
    with, its parts wait on the CPU and come while they work. Raises `Error` where not even the CPU has the memory."""
    done, base = attempted(lambda: load(device))
    free = free_bytes(device) if done else 0
    if done and (free is None or free >= RESERVE):
        return base
    free_caches()
    if not done:
        done, base = (False, None) if device.type == "cpu" else attempted(lambda: load(torch.device("cpu")))
    if not done:
        raise Error("there is not enough memory to load this base: close other programs, or use a smaller base")
    _wait_on_cpu(base, device)
    say(
        f"the memory of {device} is too small for all of {base.path} at once, so its parts wait in the computer's "
        "memory and come to the device in turn, which is slower"
    )
    return base


@contextmanager
def working(base: Base, part: Part, pixels: int = 0) -> Iterator[None]:
    """While this lasts, a part is on the base's device; if the base's parts wait on the CPU, it is alone there.

    For the VAE, `pixels` is the picture's width times height: a large one is done in tiles. May be nested: afterwards
    the outer part is back.
    """
    state = _states.setdefault(base, _State())
    outer, state.at_work = state.at_work, part
    tiled = base.vae.use_tiling
    try:
        _gather(base, part)
        if part == "vae" and pixels > LARGE:
            use_tiles(base.vae)
        yield
    finally:
        base.vae.use_tiling, state.at_work = tiled, outer
        if outer:
            _gather(base, outer)


@contextmanager
def alone(base: Base, part: Part) -> Iterator[None]:
    """While this lasts, a part has the device for itself; the others wait on the CPU, and are back afterwards."""
    device = base.device
    whole = base.visited is None and device.type != "cpu"
    if whole:
        _wait_on_cpu(base, device)
    try:
        with working(base, part):
            yield
    finally:
        if whole:
            _bring_back(base, device)


def with_retry(base: Base, work: Callable[[], T], pixels: int, say: Say = warn) -> T:
    """Do `work`; where memory runs out, say so and do it once more, in tiles and with parts in turn on the device.

    `pixels` are the width times the height of the picture, or of all that are drawn at a time: from then on, as many or
    more begin that way, and fewer as ever. Afterwards the base is as it was. Raises `Error` when memory runs out again.
    """
    state = _states.setdefault(base, _State())
    if pixels < state.too_large:
        done, result = attempted(work)
        if done:
            return result
        state.too_large = pixels
        in_turn = "" if base.device.type == "cpu" else " and with only the part that works on the device"
        say(
            f"the memory of {base.device} ran out, so this picture is drawn anew, its decoding in tiles{in_turn}: that "
            "is slower, and its pixels may differ a little"
        )
    device, visited, tiled = base.device, base.visited, base.vae.use_tiling
    free_caches()
    try:
        use_tiles(base.vae)
        if device.type != "cpu":
            _wait_on_cpu(base, device)
        done, result = attempted(work)
    finally:
        base.vae.use_tiling = tiled
        if visited is None and device.type != "cpu":
            _bring_back(base, device)
    if not done:
        raise Error(
            f"there is not enough memory on {device} for this picture, in tiles and part by part neither: give a "
            "smaller size, or close other programs that use it"
        )
    return result


def ran_out(error: BaseException) -> bool:
    """Whether an exception says that there is no memory left, on a GPU or in the computer."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or (isinstance(error, RuntimeError) and any(words in str(error) for words in RAN_OUT))


def use_tiles(vae: Any) -> None:
    """Have a VAE work on overlapping tiles of 512 pixels, blended, where the picture is larger than one."""
    vae.enable_tiling()
    vae.tile_latent_min_size = TILE
    vae.tile_sample_min_size = TILE * 2 ** (len(vae.config["block_out_channels"]) - 1)


def wants_tiles(pixels: int, free: int | None) -> bool:
    """Whether a VAE should work in tiles on pictures so large, where so many bytes are free; None: nobody can tell."""
    return pixels > LARGE or (free is not None and free < VAE_BYTES * pixels)


def free_caches() -> None:
    """Give back what PyTorch and Python hold without using it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def free_bytes(device: torch.device) -> int | None:
    """What is left on a GPU: the driver's part, and what PyTorch holds without using it. None for other devices.

    To be asked before it is gone: NVIDIA's driver for Windows then goes on in the computer's memory, many times slower,
    and says nothing.
    """
    if device.type != "cuda":
        return None
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + held


def attempted(work: Callable[[], T]) -> tuple[bool, Any]:
    """Whether there was memory for it, and its result. The error goes, and with it the tensors in its frames."""
    try:
        return True, work()
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
    return False, None


def _wait_on_cpu(base: Base, device: torch.device) -> None:
    base.to("cpu")
    base.visited = device


def _bring_back(base: Base, device: torch.device) -> None:
    """All parts on the device again; if there is no memory even for that, they go on waiting on the CPU."""
    free_caches()
    if not attempted(lambda: base.to(device))[0]:
        _wait_on_cpu(base, device)


def _gather(base: Base, part: Part) -> None:
    if base.visited is None:
        return
    for name, networks in base.parts.items():
        if name != part:
            _move(networks, torch.device("cpu"))
    _move(base.parts[part], base.visited)


def _move(networks: list[nn.Module], device: torch.device) -> None:
    for network in networks:
        nn.Module.to(network, device)
