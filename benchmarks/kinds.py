"""What the kinds of adapter learn, how fast, and how large their files are, on the sample datasets.

`python -m benchmarks.kinds` writes `benchmarks/results/kinds.md` in about an hour on one core; `--dataset
NAME` does one of them and prints it, `--rates KIND` tries multiples of a LoRA's learning rates for one kind and prints
them. Each kind is trained with the shipped preset, once for 60 steps and once for as long as 60 of LoRA's take;
held-out pictures and draws are the same for all. A locon is left out: mini's presets adapt the convolutions as well, so
that it is the same as their lora. Trainings that are finished in `--workspace` are used again.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdlora import train
from sdlora.files import size_text, write_text
from sdlora.training.config import TrainConfig
from sdlora.training.layers import KINDS
from sdlora.training.run_folder import RunFolder

from .machine import load, machine

RESULTS = Path(__file__).parent / "results" / "kinds.md"
DATASETS, RATES = ("clay", "ink", "blob"), (0.1, 0.3, 1.0, 3.0)
STEPS = 60  # most of what mini learns of a folder, it has learned by then
COMPARED = [kind for kind in KINDS if kind != "locon"]
PRESET_RATES = {"learning_rate": 2e-3, "text_encoder_learning_rate": 5e-4}  # mini's style and character


@dataclass(frozen=True)
class Trained:
    """What a training came to: `seconds` are those of its steps alone, `gain` the change of the held-out loss."""

    steps: int
    seconds: float
    gain: float
    size: int


def trained(workspace: Path, dataset: str, kind: str, times: float | None = None, **changes: Any) -> Trained:
    """A training that is measured at its ends alone, unless it was done before; at `times` a LoRA's learning rates, or
    those that suit the kind."""
    name = " ".join([
        dataset,
        kind,
        *(str(value) for value in changes.values()),
        *([] if times is None else [f"x{times:g}"]),
    ])
    run = RunFolder(workspace / "runs" / name)
    if run.state != "finished":
        settings = {"validate_every": 10**6, "checkpoint_every": 10**6, "sample_prompts": [], "choose": "last"}
        settings |= {"name": name, "images": f"sample:{dataset}", "workspace": str(workspace), "kind": kind}
        settings |= {key: times * rate for key, rate in PRESET_RATES.items()} if times else {}
        train(TrainConfig(**settings | changes), quiet=True)
    rows = list(run.metrics())
    before, after = (row["holdout_loss"] for row in rows if "holdout_loss" in row)
    size = (workspace / "adapters" / f"{name}.safetensors").stat().st_size
    return Trained(rows[-1]["step"], sum(row.get("seconds", 0.0) for row in rows), after / before - 1, size)


def rows(workspace: Path, dataset: str) -> Iterator[str]:
    usual = trained(workspace, dataset, "lora", steps=STEPS)
    for kind in COMPARED:
        alike = usual if kind == "lora" else trained(workspace, dataset, kind, steps=STEPS)
        steps = max(1, round(alike.steps * usual.seconds / alike.seconds))
        timed = alike if steps == alike.steps else trained(workspace, dataset, kind, steps=steps)
        yield (
            f"| {dataset} | {kind} | {alike.seconds / alike.steps:.2f} | {size_text(alike.size)} | "
            f"{alike.gain:+.2%} | {timed.gain:+.2%} in {timed.steps} steps |"
        )


def rates(workspace: Path, dataset: str, kind: str) -> Iterator[str]:
    """The gain at multiples of a LoRA's learning rates."""
    for times in RATES:
        found = trained(workspace, dataset, kind, times, steps=STEPS)
        yield f"{dataset} {kind} × {times:g}: {found.gain:+.2%} ({found.seconds:.0f} s)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=DATASETS, help="this one alone, printed and not written")
    parser.add_argument("--rates", choices=list(KINDS), help="try learning rates for this kind")
    parser.add_argument("--workspace", type=Path, default=Path("workspace/kinds"))
    given = parser.parse_args()
    datasets, before = [given.dataset] if given.dataset else DATASETS, load()
    if given.rates:
        for dataset in datasets:
            for line in rates(given.workspace, dataset, given.rates):
                print(line, flush=True)
        return
    lines = [
        "# Held-out loss by kind of adapter, on mini",
        "",
        f"{machine()}; load {before} before. The shipped presets with `kind` changed; lower is better.",
        "",
        "| dataset | kind | seconds a step | file | held-out loss after 60 steps | after the time of LoRA's 60 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for dataset in datasets:
        for line in rows(given.workspace, dataset):
            print(line, flush=True)
            lines.append(line)
    if not given.dataset:
        write_text(RESULTS, "\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
