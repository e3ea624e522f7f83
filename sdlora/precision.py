"""Which precision the frozen base runs in. Adapters, optimiser state and the loss stay in fp32 whatever it says."""

import functools
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}  # by the names of settings
REPETITIONS = 5
BUDGET = 0.2  # seconds after which no further repetition begins: a CPU that emulates bf16 is found out by the first
WORTH_IT = 0.9  # bf16 rounds each weight to 8 bits: it must be clearly faster, not merely as fast


def fastest_dtype(device: torch.device | str) -> torch.dtype:
    """The precision in which a frozen base runs fastest on `device` without losing the training.

    - CUDA: bf16 from compute capability 8.0 on; before that (RTX 20, T4) bf16 is emulated, fp16 has the tensor cores.
      fp16 needs loss scaling, and SDXL's VAE overflows in it.
    - CPU: measured, because no flag tells: with AVX512-BF16 or AMX bf16 is two to four times faster than fp32,
      without them about ten times slower.
    - MPS and whatever else: fp32. fp16 overflows in the text encoder and gains little there, and bf16 needs macOS 14.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return _cuda_dtype(device)
    if device.type == "cpu":
        fp32, bf16 = cpu_times()
        return torch.bfloat16 if bf16 < WORTH_IT * fp32 else torch.float32
    return torch.float32


def _cuda_dtype(device: torch.device) -> torch.dtype:
    bf16_is_native = torch.cuda.get_device_capability(device) >= (8, 0) and torch.cuda.is_bf16_supported()
    return torch.bfloat16 if bf16_is_native else torch.float16


@functools.cache
def cpu_times() -> tuple[float, float]:
    """Median seconds of a UNet's two main operations, in (fp32, bf16); measured once a process.

    The repetitions are interleaved, so that a busy moment of the machine falls on both.
    """
    dtypes = (torch.float32, torch.bfloat16)
    times: dict[torch.dtype, list[float]] = {dtype: [] for dtype in dtypes}
    with torch.inference_mode():
        for dtype in dtypes:  # the first call of all loads and sets up the libraries: small, and not counted
            _work(dtype, size=64, channels=32, side=8)()
        work = {dtype: _work(dtype) for dtype in dtypes}
        deadline = time.perf_counter() + BUDGET
        for _ in range(REPETITIONS):
            for dtype in dtypes:
                times[dtype].append(_seconds(work[dtype]))
            if time.perf_counter() > deadline:
                break
    return statistics.median(times[torch.float32]), statistics.median(times[torch.bfloat16])


def _work(dtype: torch.dtype, size: int = 640, channels: int = 320, side: int = 16) -> Callable[[], object]:
    """A matrix product and a 3×3 channels_last convolution, by default half a GFLOP each, as in SD 1.5's inner levels.

    Ones, not random numbers: a measurement must not move the caller's random state.
    """
    matrix = torch.ones(size, size, dtype=dtype)
    kernel = torch.ones(channels, channels, 3, 3, dtype=dtype).to(memory_format=torch.channels_last)
    image = torch.ones(1, channels, side, side, dtype=dtype).to(memory_format=torch.channels_last)
    return lambda: (matrix @ matrix, F.conv2d(image, kernel, padding=1))


def _seconds(operations: Callable[[], object]) -> float:
    start = time.perf_counter()
    operations()
    return time.perf_counter() - start
