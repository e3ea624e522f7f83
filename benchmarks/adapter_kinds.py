"""ΔW of every kind of update against the library that defines it: how far ours is from theirs.

`python -m benchmarks.adapter_kinds` writes `benchmarks/results/adapter_kinds.md` in a minute. LyCORIS and PEFT save the
adapters, with random numbers, and say in fp64 what weights they make of them; we read the files and compute in fp32.
"""

import argparse
import tempfile
from pathlib import Path

import torch

from sdlora.files import write_text
from tests.adapters.updates.references import CASES, LAYERS, NORMS, Case, Reference, references, update_of

from .machine import machine

RESULTS = Path(__file__).parent / "results" / "adapter_kinds.md"
LIMIT = 1e-5
HEADING = """# Kinds of updates against the libraries that define them

‖ours − theirs‖ (Frobenius), ours computed in fp32 from the file that the library saved, theirs in fp64 at multiplier 1;
relative to ‖ΔW‖, or to ‖W‖ for kinds computed from W. Theirs is the weight that LyCORIS' layers compute with, or that
PEFT merges (`get_merged_weight` of LyCORIS 4.1.3 applies alpha / rank twice for LoHa and LoKr, its layers once).
Random weights: linear {linear}, 1×1 {conv1}, 3×3 {conv3}.
{machine}.

| kind, library | relative to | linear | 1×1 | 3×3 | norm layers |
| --- | --- | --- | --- | --- | --- |
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--width", type=int, default=160, help="the convolutions' number of inputs")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    shapes: dict[str, str] = {}
    rows, worst = [], 0.0
    for case in CASES:
        errors = {}
        with tempfile.TemporaryDirectory() as folder:
            for layer, reference in references(case, Path(folder), chosen.width).items():
                errors[layer] = error(case, reference)
                shapes[layer] = "×".join(map(str, reference.weight.shape))
        worst = max(worst, *errors.values())
        rows.append(row(case, errors))
    text = HEADING.format(**shapes, machine=machine("lycoris-lora", "peft")) + "\n".join(rows)
    text += f"\n\nThe largest is {worst:.1e}; what is asked for is at most {LIMIT:.0e}.\n"
    print(text)
    write_text(chosen.out, text)
    if worst > LIMIT:
        raise SystemExit(1)


def row(case: Case, errors: dict[str, float]) -> str:
    """A line of the table; a dash where the kind has no such form (Tucker cores have a kernel larger than 1 × 1)."""
    norms = max((errors[layer] for layer in NORMS if layer in errors), default=None)
    cells = ["–" if value is None else f"{value:.1e}" for value in (*(errors.get(layer) for layer in LAYERS), norms)]
    return f"| {case.name} | {'‖W‖' if case.relative_to_weight else '‖ΔW‖'} | {' | '.join(cells)} |"


def error(case: Case, reference: Reference) -> float:
    """The larger of the weight's error and the bias' (relative to ‖Δb‖)."""
    update, _ = update_of(reference)
    against = reference.weight if case.relative_to_weight else reference.delta
    found = distance(update.delta(reference.weight), reference.delta, against)
    added = update.bias_delta(reference.bias)
    return found if added is None else max(found, distance(added, reference.bias_delta, reference.bias_delta))


def distance(ours: torch.Tensor, theirs: torch.Tensor, against: torch.Tensor) -> float:
    return float((ours.double() - theirs).norm() / against.double().norm())


if __name__ == "__main__":
    main()
