"""What a training step takes at most, by method: SD 1.5's and SDXL's geometry with random weights, on the CPU.

`python -m benchmarks.methods_memory` writes `benchmarks/results/methods_memory.md`, in about a quarter of an hour:
256 × 256 px, batch 1, each case in a process of its own, everything set up as in `sdlora train`. `--quick` tries it
out on mini and writes nothing. A case that can't run on this computer is named with the reason.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from sdlora import load_base
from sdlora.bases import Base
from sdlora.bases.random_base import random_base
from sdlora.errors import Error
from sdlora.files import write_text
from sdlora.precision import PRECISIONS, fastest_dtype
from sdlora.training import quantised
from sdlora.training.memory_ladder import gib
from sdlora.training.memory_use import how_measured, peak_memory

from .machine import load, machine
from .our_step import CPU, one_picture, our_config, our_trainer
from .own_process import Row, row_of

RESULT = Path(__file__).parent / "results" / "methods_memory.md"
RANK = 8
METHODS: dict[str, dict[str, Any]] = {
    "plain": {},
    "checkpointing": {"gradient_checkpointing": True},
    "base in 8 bits": {"quantised": "8bit"},
    "base in 4 bits": {"quantised": "4bit"},
    "base in 4 bits, checkpointing": {"quantised": "4bit", "gradient_checkpointing": True},
}
BASES = {"SD 1.5": "sd1", "SDXL": "sdxl"}


def base_of(family: str) -> tuple[Base, int]:
    """A base, and the side of the pictures that it is trained on here."""
    if family == "mini":
        return load_base("mini"), 64
    return random_base(family, dtype=fastest_dtype(CPU)), 256  # type: ignore[arg-type]


def measured(family: str, method: str, steps: int) -> Row:
    """In this process: the peak of some steps, beside what weights and set-up hold."""
    base, side = base_of(family)
    with tempfile.TemporaryDirectory() as folder:
        material = one_picture(Path(folder), side)
        config = our_config(base, material, Path(folder), side, RANK)
        config = config.model_copy(update={"sample_prompts": [], **METHODS[method]})
        dtype = PRECISIONS[config.precision]
        if config.quantised != "off" and (reason := quantised.obstacle(config.quantised, CPU, dtype)):
            return {"reason": reason}
        try:
            trainer = our_trainer(base, config, material, compiled=False)
        except Error as problem:
            return {"reason": str(problem)}
        begun = time.perf_counter()
        before, peak = peak_memory(lambda: [trainer._optimise() for _ in range(steps)], CPU)
        seconds = (time.perf_counter() - begun) / steps
    return {"before": before, "peak": peak, "seconds": seconds, "precision": config.precision}


def lines_of(name: str, family: str, steps: int) -> list[str]:
    """The table's lines of one base."""
    lines, plain = [], None
    for method in METHODS:
        row = row_of("methods_memory", "--case", f"{family}/{method}", "--steps", steps)
        if "reason" in row:
            lines.append(f"| {name} | {method} | can't run here: {row['reason']} | | | |")
            continue
        plain = plain or row["peak"]
        numbers = f"{gib(row['before'])} | {gib(row['peak'])} | {row['peak'] / plain:.0%} | {row['seconds']:.1f}"
        lines.append(f"| {name}, {row['precision']} | {method} | {numbers} |")
    return lines


def report(steps: int, quick: bool) -> str:
    """Measure everything; the whole result as markdown."""
    began = load()
    bases = {"mini": "mini"} if quick else BASES
    lines = [line for name, family in bases.items() for line in lines_of(name, family, steps)]
    return "\n".join([
        "# Memory, method by method",
        "",
        f"Random weights, {'64' if quick else '256'} px, batch 1, rank {RANK}, attention of the UNet adapted, AdamW;",
        f"{how_measured(CPU)}, at most during {steps} steps. {machine('diffusers')};",
        f"load {began} before, {load()} after: the times are only rough.",
        "",
        "| base | method | before the first step | peak | of plain | s a step |",
        "| --- | --- | --- | --- | --- | --- |",
        *lines,
        "",
        "fp16 can not be measured here: its loss scaling needs CUDA. A weight in few bits is whole only while it is",
        "multiplied with, in parts.",
        "",
    ])  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="mini: to see that it works")
    parser.add_argument("--steps", type=int, default=3, help="steps of each case")
    parser.add_argument("--out", type=Path, help=f"markdown file (full runs: {RESULT.name} in results/)")
    parser.add_argument("--case", help=argparse.SUPPRESS)  # the child process that measures one
    given = parser.parse_args(arguments)
    if given.case:
        family, _, method = given.case.partition("/")
        print(json.dumps(measured(family, method, given.steps)))
        return
    text = report(given.steps, given.quick)
    print(text)
    if out := given.out or (None if given.quick else RESULT):
        write_text(out, text)


if __name__ == "__main__":
    main()
