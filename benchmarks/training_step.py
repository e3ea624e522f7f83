"""One training step of SD 1.5: ours, a PEFT + diffusers loop, and the floor beneath both. Time and peak memory.

`python -m benchmarks.training_step` writes `benchmarks/results/training_step.md` in about six minutes, on an idle
machine; `--quick` tries it out on mini and writes nothing. Random weights (time does not depend on them), 256 × 256 px,
batch 1, rank 8, attention. The contenders take turns, step by step, in one process with all cores; each has the
precision that is fastest for it, measured. Memory is measured in a process of its own for each.
"""

import argparse
import copy
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sdlora import load_base
from sdlora.bases import Base
from sdlora.bases.random_base import random_base
from sdlora.files import write_text
from sdlora.precision import PRECISIONS
from sdlora.training.config import ResolvedConfig
from sdlora.training.material import Material
from sdlora.training.memory_use import peak_memory

from .machine import load, machine
from .our_step import CPU, floor_step, one_picture, our_config, our_trainer
from .peft_loop import peft_step

Step = Callable[[], object]
PEFT, OURS, COMPILED, FLOOR = "PEFT + diffusers", "sdlora", "sdlora, compiled", "floor: 2 frozen forwards"
RANK, WARM_UP, PEFT_TRIES = 8, 3, 3
RESULT = Path(__file__).parent / "results" / "training_step.md"
TARGETS = (
    "sdlora ≥ 1.8 × faster than PEFT (1.5 × without fast bf16); ≤ 1.25 × the floor, compiled ≤ 1.10 ×; peak ≤ PEFT's"
)


@dataclass(frozen=True)
class Bench:
    """A base with one picture to train on, and what of ours was chosen for them by measuring."""

    base: Base
    material: Material
    config: ResolvedConfig

    @staticmethod
    @contextmanager
    def open(quick: bool) -> "Iterator[Bench]":
        base, resolution = (load_base("mini"), 128) if quick else (random_base("sd1"), 256)
        with tempfile.TemporaryDirectory() as folder:
            material = one_picture(Path(folder), resolution)
            yield Bench(base, material, our_config(base, material, Path(folder), resolution, RANK))

    def contender(self, name: str, peft_precision: str, *, keep: bool = True) -> Step:
        """One step of a contender, on a copy of the base, or on the base itself where nobody needs it afterwards."""
        base = copy.deepcopy(self.base) if keep else self.base
        if name == PEFT:
            return peft_step(base, PRECISIONS[peft_precision], self.config.resolution, RANK)
        if name == FLOOR:
            return floor_step(base, self.config)
        # one optimiser step, without the log line and the polling between steps
        return our_trainer(base, self.config, self.material, compiled=name == COMPILED)._optimise


def seconds(step: Step) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def faster_peft(bench: Bench) -> tuple[str, Step, dict[str, float]]:
    """The PEFT loop in the precision in which its best of a few steps is faster, and the best of both."""
    steps = {precision: bench.contender(PEFT, precision) for precision in ("bf16", "fp32")}
    times = {precision: min(values) for precision, values in interleaved(steps, PEFT_TRIES).items()}
    best = min(times, key=lambda precision: times[precision])
    return best, steps[best], times


def interleaved(contenders: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender's steps, taken in turn, so that a busy moment of the machine falls on all."""
    for step in contenders.values():
        for _ in range(WARM_UP):
            step()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, step in contenders.items():
            times[name].append(seconds(step))
    return times


def memory_of(name: str, peft_precision: str, quick: bool) -> dict[str, int]:
    """Resident bytes before the steps and at most during them, of one contender, in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.training_step",
        "--memory-of",
        name,
        "--peft-precision",
        peft_precision,
    ]
    answer = subprocess.run([*command, *(["--quick"] if quick else [])], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(answer.stdout.splitlines()[-1])


def print_memory(name: str, peft_precision: str, quick: bool) -> None:
    with Bench.open(quick) as bench:
        step = bench.contender(name, peft_precision, keep=False)
        before, peak = peak_memory(lambda: [step() for _ in range(WARM_UP)], CPU)
    print(json.dumps({"before": before, "peak": peak}))


def table(times: dict[str, list[float]], precisions: dict[str, str], memory: dict[str, dict[str, int]]) -> str:
    """The rows, in markdown."""
    median = {name: statistics.median(values) for name, values in times.items()}
    rows = [
        "| step | precision | seconds, median (quartiles) | PEFT ÷ this | this ÷ floor | peak memory | for the steps |"
    ]
    rows += ["| --- | --- | --- | --- | --- | --- | --- |"]
    for name, values in times.items():
        low, _, high = statistics.quantiles(values, n=4)
        taken = memory.get(name)
        size = (
            f"{taken['peak'] / 2**20:.0f} MiB | {(taken['peak'] - taken['before']) / 2**20:.0f} MiB" if taken else "| "
        )
        rows.append(
            f"| {name} | {precisions[name]} | {median[name]:.3f} ({low:.3f}–{high:.3f}) "
            f"| {median[PEFT] / median[name]:.2f} | {median[name] / median[FLOOR]:.2f} | {size} |"
        )
    return "\n".join(rows)


def report(quick: bool, rounds: int, with_memory: bool) -> str:
    """Measure everything; the whole result as markdown."""
    with Bench.open(quick) as bench:
        peft_precision, peft, both = faster_peft(bench)
        contenders: dict[str, Step] = {PEFT: peft, OURS: bench.contender(OURS, peft_precision)}
        if not quick:  # compiling takes a minute
            contenders[COMPILED] = bench.contender(COMPILED, peft_precision)
        contenders[FLOOR] = bench.contender(FLOOR, peft_precision)
        before = load()
        times = interleaved(contenders, rounds)
        config, name = bench.config, "mini" if quick else "SD 1.5 (random weights)"
    precisions = dict.fromkeys(contenders, config.precision) | {PEFT: peft_precision}
    measured = [n for n in contenders if n != FLOOR] if with_memory else []
    memory = {n: memory_of(n, peft_precision, quick) for n in measured}
    slower = ", ".join(f"{precision} {value:.2f} s" for precision, value in both.items())
    return "\n".join([
        "# One training step",
        "",
        f"{name}, {config.resolution} px, batch 1, rank {RANK}, attention adapted; {rounds} rounds in turn, median.",
        f"{machine('diffusers', 'peft')}; load {before} before, {load()} after.",
        f"sdlora and the floor: {config.precision}, channels_last, {config.attention} attention. PEFT in {slower}.",
        "",
        table(times, precisions, memory),
        "",
        f"Asked for: {TARGETS}.",
        "",
    ])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="mini and few steps: to see that it works")
    parser.add_argument("--rounds", type=int, help="steps of each (12; quick: 3)")
    parser.add_argument("--no-memory", action="store_true", help="time only")
    parser.add_argument("--out", type=Path, help=f"markdown file (full runs: {RESULT.name} in results/)")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)  # the child process that measures one contender
    parser.add_argument("--peft-precision", default="fp32", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.memory_of:
        print_memory(given.memory_of, given.peft_precision, given.quick)
        return
    text = report(given.quick, given.rounds or (3 if given.quick else 12), not given.no_memory)
    print(text)
    if out := given.out or (None if given.quick else RESULT):
        write_text(out, text)


if __name__ == "__main__":
    main()
