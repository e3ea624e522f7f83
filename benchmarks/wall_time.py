"""How soon a training is as good as the usual one: seconds to the held-out loss at which PEFT and diffusers end.

`python -m benchmarks.wall_time` writes `benchmarks/results/wall_time.md` in about fifteen minutes on two quiet cores;
`--dataset NAME` does one of the sample datasets, `--epochs N` shortens the peer's training, and both only print. The
peer is `peft_training`, from loading the base to the written file. Ours is `sdlora train` with the shipped preset, from
the same start; it is measured every few steps, and the time of these measurements is taken off. Both adapters are
judged by the same draws on the same pictures that neither was trained on.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdlora import train
from sdlora.data.folder import read_folder
from sdlora.data.sample import resolve_folder, sample_facts
from sdlora.evaluation import evaluate
from sdlora.files import write_text
from sdlora.training.config import TrainConfig
from sdlora.training.validation import Measured, Validation

from .machine import load, machine
from .peft_training import BATCH, EPOCHS, train_as_diffusers

RESULTS = Path(__file__).parent / "results" / "wall_time.md"
DATASETS, EVERY, ASKED = ("clay", "ink", "blob"), 4, 0.5


@dataclass(frozen=True)
class Reached:
    """Held-out losses of our run, each with the seconds of training until then."""

    steps: tuple[int, ...]
    seconds: tuple[float, ...]
    losses: tuple[float, ...]

    def soonest(self, loss: float) -> tuple[int, float]:
        """The first step that was as good as `loss`, and its seconds; infinite where none was."""
        found = zip(self.losses, self.steps, self.seconds, strict=True)
        return next(((step, seconds) for own, step, seconds in found if own <= loss), (0, float("inf")))


@contextmanager
def clocked(into: list[tuple[float, float]]) -> Iterator[None]:
    """Note each measurement's loss, and the seconds since the start without those spent on measuring."""
    begun, spent, measure = time.perf_counter(), 0.0, Validation.measure

    def noting(self: Validation, *arguments: Any) -> Measured:
        nonlocal spent
        before = time.perf_counter()
        result = measure(self, *arguments)
        into.append((before - begun - spent, result.loss))
        spent += time.perf_counter() - before
        return result

    Validation.measure = noting  # type: ignore[method-assign]
    try:
        yield
    finally:
        Validation.measure = measure  # type: ignore[method-assign]


def ours(dataset: str, workspace: Path) -> Reached:
    """Our run with the shipped preset; nothing is cached from before."""
    config = TrainConfig(
        name=dataset,
        images=f"sample:{dataset}",
        workspace=str(workspace),
        validate_every=EVERY,
        sample_prompts=[],
        choose="last",
    )
    noted: list[tuple[float, float]] = []
    with clocked(noted):
        done = train(config, quiet=True)
    seconds, losses = zip(*noted, strict=True)
    steps = tuple(min(i * EVERY, done.steps) for i in range(len(noted)))
    return Reached(steps, seconds, losses)


def row(dataset: str, epochs: int) -> str:
    facts = sample_facts(f"sample:{dataset}")
    assert facts is not None
    examples = read_folder(resolve_folder(f"sample:{dataset}"), facts.trigger).examples
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        file = train_as_diffusers("mini", examples, Path(folder), epochs)
        theirs = time.perf_counter() - begun
        judged = evaluate(file, f"sample:{dataset}", trigger=facts.trigger)
        reached = ours(dataset, Path(folder))
    step, seconds = reached.soonest(judged.adapter_loss)
    gain, own = judged.adapter_loss / judged.base_loss - 1, reached.losses[-1] / reached.losses[0] - 1
    return (
        f"| {dataset} | {theirs:.0f} s, {epochs * len(examples)} images | {judged.base_loss:.4f} -> "
        f"{judged.adapter_loss:.4f} ({gain:+.1%}) | {seconds:.0f} s, step {step} | **{seconds / theirs:.2f}** | "
        f"{reached.seconds[-1]:.0f} s, {own:+.1%} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=DATASETS, help="this one alone, printed and not written")
    parser.add_argument("--epochs", type=int, help="of the peer, instead of its default, printed and not written")
    given = parser.parse_args()
    before, epochs = load(), given.epochs or EPOCHS
    rows = []
    for dataset in [given.dataset] if given.dataset else DATASETS:
        rows.append(row(dataset, epochs))
        print(rows[-1], flush=True)  # a run that is broken off has told something
    text = "\n".join([
        "# Seconds to the held-out loss at which PEFT + diffusers end, on mini",
        "",
        f"{machine('diffusers', 'peft')}; load {before} before, {load()} after. The peer: the defaults of diffusers' "
        f"`train_text_to_image_lora.py` (batch {BATCH}, {epochs} epochs, fp32). Asked: at most {ASKED:g} of its time.",
        "",
        "| dataset | the peer's whole training | its held-out loss | ours is as good after | ratio | ours to its end |",
        "| --- | --- | --- | --- | --- | --- |",
        *rows,
        "",
    ])
    print(text)
    if not given.dataset and not given.epochs:
        write_text(RESULTS, text)


if __name__ == "__main__":
    main()
