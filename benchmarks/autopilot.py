"""What `preset = "auto"` finds against the shipped presets, in the same time, on the three sample datasets.

`python -m benchmarks.autopilot` writes `benchmarks/results/autopilot.md` in about half an hour on one core;
`--dataset NAME` does one of them, `--seeds N` as many seeds, `--steps N` shortens the presets, and all only print.
First the preset is trained, then the autopilot with the preset's time, from the call to the written file, as its
budget, and the preset's prior preservation. Every second held-out picture is what both choose by, and those in between
are what both are judged by: neither has seen them, not even to choose.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sdlora.bases import load_base
from sdlora.data.folder import read_folder
from sdlora.data.sample import holdout_beside, sample_facts
from sdlora.evaluation import evaluate
from sdlora.files import write_text
from sdlora.training.autopilot.record import Record
from sdlora.training.config import TrainConfig, read_toml
from sdlora.training.defaults import preset_file
from sdlora.training.run import train
from sdlora.training.run_folder import RunFolder

from .machine import load, machine

RESULTS = Path(__file__).parent / "results" / "autopilot.md"
DATASETS, SEEDS = ("clay", "ink", "blob"), 1


@dataclass(frozen=True)
class Arm:
    """One training: its seconds in all, its steps, the change of the held-out loss on pictures that only judge, the
    drift, and what was chosen."""

    seconds: float
    steps: int
    change: float
    drift: float
    chosen: str


def halves(dataset: str, folder: Path) -> tuple[Path, Path]:
    """The held-out pictures in two folders: to choose by, and to judge by."""
    choose, judge = folder / "choose", folder / "judge"
    held = holdout_beside(f"sample:{dataset}")
    assert held is not None
    for number, example in enumerate(read_folder(held).examples):
        place = (choose, judge)[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        for file in (example.path, example.path.with_suffix(".txt")):
            shutil.copyfile(file, place / file.name)
    return choose, judge


def trained(dataset: str, choose: Path, judge: Path, workspace: Path, seed: int, **settings: str | float) -> Arm:
    """Train in a workspace of its own, in which nothing is encoded yet, and judge."""
    values = {"images": f"sample:{dataset}", "holdout": str(choose), "workspace": str(workspace), "seed": seed}
    began = time.perf_counter()
    done = train(TrainConfig(name="run", **{**values, **settings}), quiet=True)
    seconds = time.perf_counter() - began
    run = RunFolder(done.folder)
    config, rows = run.config(), list(run.metrics())
    drift = [row["drift"] for row in rows if "drift" in row and row["step"] <= done.steps][-1]
    result = evaluate(done.adapter_path, judge, trigger=config.trigger, seed=1)
    return Arm(seconds, done.steps, -result.improvement, drift, _chosen(run))


def _chosen(run: RunFolder) -> str:
    """What differs from the settings that the search began with."""
    record = Record.read(run.path)
    if record is None or record.chosen is None:
        return ""
    own = {key: value for key, value in record.chosen.items() if value != record.start[key]}
    return ", ".join(f"{key} {value}" for key, value in own.items()) or "as it begins"


def compared(dataset: str, seed: int, steps: int | None) -> tuple[Arm, Arm]:
    """The shipped preset, and the autopilot in its time."""
    facts = sample_facts(f"sample:{dataset}")
    assert facts is not None
    kept = read_toml(preset_file(facts.kind, load_base("mini")))["prior_preservation"]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        choose, judge = halves(dataset, root)
        shorter = {"steps": steps} if steps else {}
        preset = trained(dataset, choose, judge, root / "preset", seed, **shorter)
        more = {"preset": "auto", "time_budget": f"{preset.seconds:.1f}s", "prior_preservation": kept}
        return preset, trained(dataset, choose, judge, root / "auto", seed, **more)


def lines(dataset: str, seed: int, arms: tuple[Arm, Arm]) -> Iterator[str]:
    """The rows of one comparison."""
    for name, arm in zip(("preset", "auto"), arms, strict=True):
        yield (
            f"| {dataset}, seed {seed} | {name} | {arm.seconds:.0f} | {arm.steps} | {arm.change:+.1%} "
            f"| {arm.drift:.2%} | {arm.chosen} |"
        )


def told(pairs: dict[str, list[tuple[Arm, Arm]]]) -> str:
    """What the autopilot gains by dataset, and over all."""
    gains = {name: statistics.mean(auto.change - preset.change for preset, auto in own) for name, own in pairs.items()}
    each = ", ".join(f"{name} {100 * gain:+.2f}" for name, gain in gains.items())
    return (
        f"Autopilot against preset, points of held-out loss (less is better), mean over seeds: {each}; "
        f"mean {100 * statistics.mean(gains.values()):+.2f}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", choices=DATASETS)
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--steps", type=int)
    given = parser.parse_args()
    before = load()
    rows = [
        "| dataset | settings | seconds in all | step | held-out loss | drift | chosen |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    print("\n".join(rows), flush=True)
    pairs: dict[str, list[tuple[Arm, Arm]]] = {}
    whole = not (given.dataset or given.seeds or given.steps)
    for seed in range(given.seeds or SEEDS):
        for dataset in [given.dataset] if given.dataset else DATASETS:
            pairs.setdefault(dataset, []).append(compared(dataset, seed, given.steps))
            rows += (new := list(lines(dataset, seed, pairs[dataset][-1])))
            print("\n".join(new), flush=True)
            if whole:  # it takes long: what there is by now
                head = f"# Autopilot\n\n{machine()}, load before {before}. `python -m benchmarks.autopilot`\n"
                write_text(RESULTS, "\n".join([head, *rows, "", told(pairs)]) + "\n")
    print(told(pairs))


if __name__ == "__main__":
    main()
