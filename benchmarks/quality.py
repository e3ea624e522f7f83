"""What the `quality` preset changes on mini, beside the `style` preset trained on the same pictures.

`python -m benchmarks.quality` writes `benchmarks/results/quality.md` in about five minutes on two quiet cores;
`--steps N` shortens both trainings and only prints. Both are trained on the pictures of two sample datasets together,
whose captions say only what is in them. The loss is measured on held-out pictures of these two, and on those of the
third, which nothing was trained on: a base that got better and not merely other should not lose there. The last column
is how far answers without a caption moved.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from sdlora.bases import load_base
from sdlora.data.captions import without_trigger
from sdlora.data.folder import Example, read_folder
from sdlora.data.latents import Viewing
from sdlora.data.sample import holdout_beside, sample_facts
from sdlora.files import write_text
from sdlora.mixing import Mixer
from sdlora.precision import fastest_dtype
from sdlora.training.config import TrainConfig
from sdlora.training.holdout import Holdout
from sdlora.training.loss import Denoiser
from sdlora.training.run import train

from .machine import load, machine

RESULTS = Path(__file__).parent / "results" / "quality.md"
LEARNED, OTHER, PRESETS, CPU = ("clay", "ink"), "blob", ("style", "quality"), torch.device("cpu")


@dataclass(frozen=True)
class Changes:
    """Of the held-out losses on pictures like those that were learned and on others, as shares; `moved` is the squared
    change of the answers without a caption, as a share of these."""

    like: float
    other: float
    moved: float


class Judge:
    """The same draws for all adapters."""

    def __init__(self) -> None:
        self._base = load_base("mini")
        self._mixer = Mixer(self._base)
        like = [example for name in LEARNED for example in held(name)]
        self._like, self._other = self._draws(like), self._draws(held(OTHER))
        self._plain = self._draws([Example(one.path, "") for one in held(OTHER)], noises=1)
        for module in (self._base.unet, *self._base.text_encoders):
            nn.Module.to(module, fastest_dtype(CPU))
        self._denoiser = Denoiser(self._base)
        self._before = self._losses()
        self._answers = self._plain.predictions(self._denoiser, CPU)

    def changes(self, adapter: Path) -> Changes:
        """By one adapter."""
        self._mixer.set({str(adapter): 1.0})
        like, other = (after / before - 1 for after, before in zip(self._losses(), self._before, strict=True))
        answers = self._plain.predictions(self._denoiser, CPU)
        self._mixer.clear()
        moved = sum((a - b).square().sum() for a, b in zip(answers, self._answers, strict=True))
        return Changes(like, other, float(moved / sum(b.square().sum() for b in self._answers)))

    def _losses(self) -> tuple[float, float]:
        return tuple(draws.measure(self._denoiser, CPU).loss for draws in (self._like, self._other))  # type: ignore[return-value]

    def _draws(self, examples: Sequence[Example], noises: int = 4) -> Holdout:
        viewing = Viewing.square(self._base.resolution)
        return Holdout(self._base, examples, viewing, seed=1, encoder_trains=True, noises=noises)


def held(dataset: str) -> list[Example]:
    """Held-out pictures, with captions that say only what is in them."""
    return plain(dataset, holdout_beside(f"sample:{dataset}") or Path())


def plain(dataset: str, folder: Path) -> list[Example]:
    """Pictures with captions that do not say whose they are."""
    facts = sample_facts(f"sample:{dataset}")
    assert facts is not None
    examples = read_folder(folder).examples
    return [replace(one, caption=without_trigger(one.caption, facts.trigger)) for one in examples]


def together(folder: Path) -> Path:
    """The pictures of both datasets, and their held-out ones beside them, in one folder each."""
    for name in LEARNED:
        learned = plain(name, (holdout_beside(f"sample:{name}") or Path()).parent / "train")
        for part, examples in (("train", learned), ("holdout", held(name))):
            (folder / part).mkdir(parents=True, exist_ok=True)
            for one in examples:
                target = folder / part / f"{name}-{one.path.name}"
                shutil.copyfile(one.path, target)
                target.with_suffix(".txt").write_text(one.caption, encoding="utf-8")
    return folder / "train"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int)
    given = parser.parse_args()
    before, judge = load(), Judge()
    rows = [
        "| preset | steps | seconds | pictures like these | other pictures | moved without a caption |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    print("\n".join(rows), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        images = together(Path(folder))
        for preset in PRESETS:
            steps = {"steps": given.steps} if given.steps else {}
            config = TrainConfig(name=preset, preset=preset, images=str(images), workspace=folder, **steps)
            began = time.perf_counter()
            done = train(config, quiet=True)
            seconds, found = time.perf_counter() - began, judge.changes(done.adapter_path)
            changes = f"{found.like:+.1%} | {found.other:+.1%} | {found.moved:.2%}"
            rows.append(f"| {preset} | {done.steps} | {seconds:.0f} | {changes} |")
            print(rows[-1], flush=True)
    if not given.steps:
        head = f"# Quality\n\n{machine()}, load before {before}. `python -m benchmarks.quality`\n\n"
        write_text(RESULTS, head + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
