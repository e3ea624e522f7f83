"""Where updates start, and ranks that are found: the held-out loss of each on the three sample datasets.

`python -m benchmarks.starts [--steps 100] [--dataset NAME] [--base BASE] [--workspace FOLDER]` trains the UNet with
each, with nothing else changed but the learning rate, and prints one table with the best of three rates for each.
Finished runs are used again.
"""

import argparse
from pathlib import Path

from benchmarks.blocks import CHARACTERS, STYLES, Result, measured
from benchmarks.machine import machine

WAYS = {
    "usual": ({}, (1e-3, 2e-3, 4e-3)),
    "pissa": ({"start": "pissa"}, (5e-4, 1e-3, 2e-3)),
    "orthogonal": ({"start": "orthogonal"}, (5e-4, 1e-3, 2e-3)),
    "adaptive rank": ({"adaptive_rank": True}, (2e-3, 4e-3, 8e-3)),
}
TARGETS = ["attention", "feed_forward", "convolutions"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="mini")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--dataset", choices=(*STYLES, *CHARACTERS), help="this one alone")
    parser.add_argument("--workspace", type=Path, default=Path("workspace/starts"))
    given = parser.parse_args()
    datasets = (given.dataset,) if given.dataset else (*STYLES, *CHARACTERS)
    print(f"{machine()}; {given.base}, {given.steps} steps, rank 16, best of three learning rates\n")
    print(f"| way | {' | '.join(f'{name}: rate | loss | drift' for name in datasets)} | seconds | file, KB |")
    print("| --- |" + " --- |" * (3 * len(datasets) + 2))
    for way, (settings, rates) in WAYS.items():
        cells, seconds, size = [], 0.0, 0
        for dataset in datasets:
            found: list[tuple[Result, float]] = []
            for rate in rates:
                name = f"{dataset} {way} {rate:g}"
                found.append((measured(name, dataset, TARGETS, given, learning_rate=rate, **settings), rate))
                size = (given.workspace / "adapters" / f"{name}.safetensors").stat().st_size
            best, rate = max(found, key=lambda pair: pair[0].fall)
            cells.append(f"{rate:g} | {-best.fall:+.2%} | {best.drift:.2%}")
            seconds += best.seconds
        print(f"| {way} | {' | '.join(cells)} | {seconds:.0f} | {size / 1000:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
