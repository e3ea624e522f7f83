"""Resizing a full-target SD 1.5 file from rank 64 to 16: by QR and a small SVD, and by an SVD of every ΔW.

`OMP_NUM_THREADS=1 python -m benchmarks.resize_speed` writes `benchmarks/results/resize_speed.md` in five minutes. Both
run on one thread, in this process' own CPU seconds, so that a busy machine counts for neither. SVDs of whole ΔW are
taken of two modules of each shape, and counted for all modules of that shape.
"""

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median

import torch
from torch import Tensor

from sdlora import algebra, load_adapter, save_adapter
from sdlora.adapters import LoRA
from sdlora.files import write_text

from .full_target import SHAPES, full_target
from .machine import load, machine

RESULTS = Path(__file__).parent / "results" / "resize_speed.md"
OLD, NEW, SAMPLES, ROUNDS = 64, 16, 2, 5


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        made = full_target("full", OLD, 32.0, seed=1)
        adapter = load_adapter(save_adapter(made, Path(folder) / "full.safetensors", dtype="fp16"))
    times = [seconds(lambda: algebra.resize(adapter, rank=NEW)) for _ in range(ROUNDS)]
    resized, report = algebra.resize(adapter, rank=NEW)
    rows, total, furthest = [], 0.0, 0.0
    for shape, paths in by_shape().items():
        taken = []
        for path in paths[:SAMPLES]:
            values, spent = whole_svd(adapter.updates[path])
            taken.append(spent)
            furthest = max(furthest, distance(kept_values(resized.updates[path]), values[:NEW]))
        total += mean(taken) * len(paths)
        rows.append(
            f"| {'×'.join(map(str, shape))} | {len(paths)} | {mean(taken):.2f} | {mean(taken) * len(paths):.1f} |"
        )
        print(rows[-1], flush=True)
    ours = median(times)
    text = [
        "# Resizing a full-target SD 1.5 file from rank 64 to 16",
        "",
        f"{len(SHAPES)} modules, fp16, random numbers. CPU seconds on one thread; ours: the median of {ROUNDS}.",
        f"{machine()}; load {load()}.",
        "",
        "| | CPU seconds | |",
        "| --- | --- | --- |",
        f"| sdlora: QR of the factors, SVD of the core (fp64) | {ours:.2f} | all modules |",
        f"| SVD of every ΔW (`torch.linalg.svd`, fp32) | {total:.0f} | estimated from {SAMPLES} of each shape, below |",
        f"| ratio | {total / ours:.0f} | asked for: at least 50 |",
        "",
        f"The {NEW} singular values that ours keeps differ by {furthest:.1e} at most from the SVD's of the sampled ΔW",
        f"(asked for: 1e-4). What resizing lost, as reported: {report.relative:.4f} of ‖ΔW‖.",
        "",
        "| shape of ΔW | modules | CPU seconds, each | all of them |",
        "| --- | --- | --- | --- |",
        *rows,
        "",
    ]
    write_text(RESULTS, "\n".join(text))
    print("\n".join(text[:14]))


def by_shape() -> dict[tuple[int, ...], list[str]]:
    groups: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for path, shape in SHAPES.items():
        groups[shape[:2]].append(path)
    return groups


def whole_svd(update: LoRA) -> tuple[Tensor, float]:
    """Singular values by an SVD of the whole ΔW, and the CPU seconds for making ΔW and decomposing it."""
    start = time.process_time()
    up, down = update.factors(torch.device("cpu"))
    values = torch.linalg.svd(up @ down, full_matrices=False).S
    return values, time.process_time() - start


def kept_values(update: LoRA) -> Tensor:
    """The singular values of an update of small rank, from its factors."""
    up, down = (t.double() for t in update.factors(torch.device("cpu")))
    return torch.linalg.svdvals(torch.linalg.qr(up).R @ torch.linalg.qr(down.T).R.T)


def distance(found: Tensor, exact: Tensor) -> float:
    """The largest relative difference of two lists of singular values."""
    return float(((found - exact).abs() / exact).max())


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
