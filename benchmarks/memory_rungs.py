"""What the preflight says that training takes, against the most that it then takes, on every rung of the ladder.

`python -m benchmarks.memory_rungs` writes `benchmarks/results/memory_rungs.md`, in about half an hour: SD 1.5's
geometry with random weights at 256 × 256 px on the CPU, 50 steps of each rung in a process of its own. `--quick` tries
it out on mini and writes nothing. A rung stands on those above it; one that can't be taken, or that would save less
than 2 %, is named with the reason.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from sdlora import load_base
from sdlora.bases.random_base import random_base
from sdlora.files import write_text
from sdlora.training.memory_ladder import LADDER, WORTH_IT, Place, gib, in_words
from sdlora.training.memory_use import how_measured, peak_memory
from sdlora.training.preflight import Preflight
from sdlora.training.targets import select

from .machine import load, machine
from .our_step import CPU, one_picture, our_config, our_trainer
from .own_process import Row, row_of

RESULT = Path(__file__).parent / "results" / "memory_rungs.md"
BATCH, RANK = 2, 8


def measured(rungs: list[int], before: int, steps: int, quick: bool) -> Row:
    """In this process: the last of these rungs on top of the others, where the one before needs `before` bytes."""
    base, side = (load_base("mini"), 64) if quick else (random_base("sd1"), 256)
    with tempfile.TemporaryDirectory() as folder:
        material = one_picture(Path(folder), side)
        config = our_config(base, material, Path(folder), side, RANK)
        config = config.model_copy(update={"batch_size": BATCH, "sample_prompts": []})
        modules: dict[str, Any] = base.modules()
        trained = sum(RANK * sum(modules[path].weight.shape[:2]) for path in select(modules, config.targets))
        changes: dict[str, Any] = {}
        place = Place(base, CPU, parameters=trained)
        for number in rungs:
            changes, reason = LADDER[number].changes(config), LADDER[number].skipped(config, place)
            if reason is None and (saved := LADDER[number].saves(place)) < WORTH_IT * before:
                reason = f"it would save {gib(saved)}, under {WORTH_IT:.0%}"
            if reason:
                return {"name": in_words(changes), "reason": reason}
            config = config.model_copy(update=changes)
        figure = Preflight(base, material, CPU).need(config)
        if before and figure is not None and before - figure < WORTH_IT * before:
            return {"name": in_words(changes), "reason": f"it saves under {WORTH_IT:.0%}"}
        trainer = our_trainer(base, config, material, compiled=False)
        start = time.perf_counter()
        _, peak = peak_memory(lambda: [trainer._optimise() for _ in range(steps)], CPU)
        seconds = (time.perf_counter() - start) / steps
    precision = f"{config.precision}, {config.attention} attention"
    name = in_words(changes) or f"as asked: batch_size = {BATCH}"
    return {"name": name, "figure": figure, "peak": peak, "seconds": seconds, "precision": precision}


def in_a_process(rungs: list[int], before: int, steps: int, quick: bool) -> Row:
    given = ["--rungs", ",".join(map(str, rungs)), "--before", before, "--steps", steps]
    return {"name": f"rungs {rungs}"} | row_of("memory_rungs", *given, *(["--quick"] if quick else []))


def rows(steps: int, quick: bool) -> list[Row]:
    """As asked, then each rung on those that were taken."""
    found, taken = [in_a_process([], 0, steps, quick)], list[int]()
    if "reason" in found[0]:
        raise SystemExit(f"as asked: {found[0]['reason']}")
    for number in range(len(LADDER)):
        last = next(row for row in reversed(found) if "figure" in row)
        row = in_a_process([*taken, number], last["figure"], steps, quick)
        if "figure" in row:
            taken.append(number)
        found.append(row)
    return found


def table(found: list[Row], steps: int) -> str:
    """In markdown."""
    lines = [f"| rung | preflight | peak of {steps} later steps | preflight ÷ peak | of the peak before | s a step |"]
    lines += ["| --- | --- | --- | --- | --- | --- |"]
    before = None
    for row in found:
        if "reason" in row:
            lines.append(f"| {row['name']} | skipped: {row['reason']} | | | | |")
            continue
        figure, peak = row["figure"], row["peak"]
        share = f"{peak / before:.1%}" if before else ""
        lines.append(
            f"| {row['name']} | {gib(figure)} | {gib(peak)} | {figure / peak:.3f} | {share} | {row['seconds']:.1f} |"
        )
        before = peak
    return "\n".join(lines)


def report(steps: int, quick: bool) -> str:
    """Measure everything; the whole result as markdown."""
    began, found = load(), rows(steps, quick)
    name, side = ("mini", 64) if quick else ("SD 1.5 (random weights)", 256)
    return "\n".join([
        "# Memory, rung by rung",
        "",
        f"{name}, {side} px, batch {BATCH}, rank {RANK}, attention adapted, {found[0]['precision']};",
        f"{how_measured(CPU)}. {machine('diffusers')}; load {began} before, {load()} after: the times are only rough.",
        "",
        table(found, steps),
        "",
        "Asked for: the preflight's figure within 15 % of the peak; each rung really lower than the one before.",
        "",
    ])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="mini: to see that it works")
    parser.add_argument("--steps", type=int, default=50, help="later steps of each rung")
    parser.add_argument("--out", type=Path, help=f"markdown file (full runs: {RESULT.name} in results/)")
    parser.add_argument("--rungs", help=argparse.SUPPRESS)  # the child process that measures one rung
    parser.add_argument("--before", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.rungs is not None:
        rungs = [int(number) for number in given.rungs.split(",") if number]
        print(json.dumps(measured(rungs, given.before, given.steps, given.quick)))
        return
    text = report(given.steps, given.quick)
    print(text)
    if out := given.out or (None if given.quick else RESULT):
        write_text(out, text)


if __name__ == "__main__":
    main()
