"""Which blocks of the UNet carry a style, and which a thing: each block's transformers trained alone, on all samples.

`python -m benchmarks.blocks [--steps 30] [--base BASE] [--workspace FOLDER]` trains on clay and ink (styles) and blob
(a character), once for each block, with nothing else changed, and prints how far the held-out loss falls, and how far
predictions for captions without the trigger drift. Finished runs are used again. The last columns compare: a block's
share of the fall that all transformers together reach, on the styles and on the character.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from sdlora.adapters.algebra import block_of
from sdlora.bases import load_base
from sdlora.training.config import TrainConfig
from sdlora.training.run import train
from sdlora.training.run_folder import RunFolder
from sdlora.training.targets import select

STYLES, CHARACTERS = ("clay", "ink"), ("blob",)
ALL = "all transformers"
RATE = 2e-3  # the presets' for mini
HELD_OUT = 8  # images: half of them, for there are many runs


@dataclass(frozen=True)
class Result:
    """The share by which the held-out loss fell, the drift as a share of the base's own power, and the seconds."""

    fall: float
    drift: float
    seconds: float


def blocks_of(base: str) -> dict[str, list[str]]:
    """Module paths by block, and of the named targets; those of all of them first."""
    modules = load_base(base).modules()
    every = [path for path in select(modules, ["attention", "feed_forward"]) if ".attentions." in path]
    found = {ALL: every}
    for path in every:
        found.setdefault(block_of(path), []).append(path)
    return found | {name: select(modules, [name]) for name in ("style", "content")}


def measured(name: str, dataset: str, targets: list[str], given: argparse.Namespace, **settings: Any) -> Result:
    """One training of that name, unless it was done before."""
    run = RunFolder(given.workspace / "runs" / name)
    if run.state != "finished":
        usual: dict[str, Any] = {
            "learning_rate": RATE,
            "prior_preservation": 0.0,
            "validate_every": given.steps,
            "checkpoint_every": given.steps,
            "choose": "last",
            "sample_prompts": [],
            "holdout_images": HELD_OUT,
            "precision": "fp32",
            "attention": "sdpa",
            "memory": "off",
        }
        config = TrainConfig(
            name=name,
            images=f"sample:{dataset}",
            base=given.base,
            workspace=str(given.workspace),
            targets=targets,
            steps=given.steps,
            **(usual | settings),
        )
        train(config, quiet=True)
    rows = list(run.metrics())
    before, after = (row for row in rows if "holdout_loss" in row)
    seconds = sum(row["seconds"] for row in rows if "seconds" in row)
    return Result(1 - after["holdout_loss"] / before["holdout_loss"], after["drift"], seconds)


def lines(results: dict[str, dict[str, Result]]) -> Iterator[str]:
    """The table, a row a block."""
    datasets = (*STYLES, *CHARACTERS)
    head = [f"{name}: loss | drift" for name in datasets]
    yield f"| block | {' | '.join(head)} | seconds | share of the styles' fall | of the character's | style : content |"
    yield "| --- |" + " --- |" * (2 * len(datasets) + 4)
    for block, row in results.items():
        cells = [f"{-row[name].fall:+.2%} | {row[name].drift:.2%}" for name in datasets]
        seconds = sum(row[name].seconds for name in datasets)
        style, content = (
            sum(row[name].fall / results[ALL][name].fall for name in group) / len(group)
            for group in (STYLES, CHARACTERS)
        )
        ratio = f"{style / content:.2f}" if content > 0 else "-"
        yield f"| {block} | {' | '.join(cells)} | {seconds:.0f} | {style:.0%} | {content:.0%} | {ratio} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="mini")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--workspace", type=Path, default=Path("workspace/blocks"))
    given = parser.parse_args()
    print("# Which blocks carry a style, and which a thing\n")
    print(
        f"{machine()}; {given.base}, {given.steps} steps, rank 16, learning rate {RATE:g}, {HELD_OUT} held-out images\n"
    )
    blocks = blocks_of(given.base)
    results = {
        block: {
            dataset: measured(f"{dataset} {block}".replace(".", "-"), dataset, paths, given)
            for dataset in (*STYLES, *CHARACTERS)
        }
        for block, paths in blocks.items()
    }
    print("\n".join(lines(results)), flush=True)


if __name__ == "__main__":
    main()
