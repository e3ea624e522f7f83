"""Learned tokens, class images and a base in fewer bits: what each changes, on the sample datasets.

`python -m benchmarks.tokens` writes `benchmarks/results/tokens.md` in about twenty-five minutes on two quiet cores;
`--dataset NAME` does one of them and prints it, `--steps N` makes all runs so short. Each row is the shipped preset
with the settings that it names; held-out pictures and draws are the same for all.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sdlora import train
from sdlora.data.sample import sample_facts
from sdlora.evaluation import evaluate
from sdlora.files import size_text, write_text
from sdlora.training.config import TrainConfig
from sdlora.training.run_folder import RunFolder

from .machine import load, machine

RESULT = Path(__file__).parent / "results" / "tokens.md"
DATASETS = ("clay", "ink", "blob")
TARGETS = ["attention", "feed_forward", "convolutions", "text_attention"]  # mini's presets'
WAYS: dict[str, dict[str, Any]] = {
    "layers": {},
    "token alone": {"targets": ["tokens"], "token_vectors": 4, "prior_preservation": 0.0},
    "token, and layers of the UNet": {"targets": [*TARGETS[:3], "tokens"], "token_vectors": 4},
    "layers, no prior": {"prior_preservation": 0.0},
    "layers, class images": {"class_prompt": "a picture", "class_count": 32},
    "layers, base in 8 bits": {"quantised": "8bit"},
    "layers, base in 4 bits": {"quantised": "4bit"},
}


def row(dataset: str, way: str, **changes: Any) -> str:
    """One training, measured at its ends alone."""
    with tempfile.TemporaryDirectory() as workspace:
        settings = {"validate_every": 10**6, "checkpoint_every": 10**6, "sample_prompts": [], "choose": "last"}
        settings |= {"name": dataset, "images": f"sample:{dataset}", "workspace": workspace}
        done = train(TrainConfig(**settings | WAYS[way] | changes), quiet=True)
        rows = list(RunFolder(done.folder).metrics())
        seconds = sum(found.get("seconds", 0.0) for found in rows)
        drift = [found["drift"] for found in rows if "drift" in found][-1]
        facts = sample_facts(f"sample:{dataset}")
        unrounded = evaluate(done.adapter_path, f"sample:{dataset}", trigger=facts and facts.trigger)
        assert done.holdout_loss_before and done.holdout_loss_after
        gain = done.holdout_loss_after / done.holdout_loss_before - 1
        size = size_text(done.adapter_path.stat().st_size)
        cells = [dataset, way, f"{seconds / done.steps:.2f}", size, f"{done.holdout_loss_before:.4f}"]
        cells += [f"{gain:+.2%}", f"{-unrounded.improvement:+.2%}", f"{drift:.2%}"]
        return f"| {' | '.join(cells)} |"


def rows(dataset: str, **changes: Any) -> Iterator[str]:
    for way in WAYS:
        yield row(dataset, way, **changes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=DATASETS, help="this one alone, printed and not written")
    parser.add_argument("--steps", type=int, help="steps of each run, printed and not written")
    given = parser.parse_args()
    before, changes = load(), {"steps": given.steps} if given.steps else {}
    lines = [
        "# Learned tokens, class images, a base in fewer bits, on mini",
        "",
        f"`python -m benchmarks.tokens`: {machine('torchao')}; load {before} before. The shipped presets with what the",
        "row names changed; lower is better. The base's loss and the change are on the base as it was trained on, the",
        "change unrounded on the base in full. Drift is how far captions without the trigger moved.",
        "",
        "| dataset | way | seconds a step | file | base's loss | change | change, unrounded base | drift |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for dataset in [given.dataset] if given.dataset else DATASETS:
        for line in rows(dataset, **changes):
            print(line, flush=True)
            lines.append(line)
    if not (given.dataset or given.steps):
        write_text(RESULT, "\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
