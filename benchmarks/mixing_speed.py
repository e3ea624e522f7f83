"""What adapters cost when pictures are drawn: sdlora, diffusers' `set_adapters`, diffusers fused, side by side.

`python -m benchmarks.mixing_speed` writes `benchmarks/results/mixing_speed.md` in about eight minutes on two quiet
cores; `--quick` tries it out on mini and writes nothing. `--part images|files|start` runs one part alone, `--steps`
and `--rounds` say how long. Adapters of rank 16 on the UNet's attention, the base in the precision that is fastest
here, for all of them. They take turns in one process, picture by picture, in an order that changes with the round;
changing the mix in between is not counted here (that is `slider_speed`). What eight adapters cost sdlora is a matter of
a hundredth, and this machine's pace wanders by more from minute to minute: so that figure is the median over pairs of
pictures, drawn one right after the other.
"""

import argparse
import random
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sdlora import Mixer, load_base
from sdlora.bases import Base
from sdlora.bases.random_base import random_base
from sdlora.files import write_text
from sdlora.precision import fastest_dtype
from tests.adapters.made import ATTENTION

from .file_speed import file_times
from .machine import load, machine
from .mixed_by_diffusers import RANK, adapter_files, pipeline_of, quiet, use
from .slider_speed import seconds
from .start_speed import start_times

RESULTS = Path(__file__).parent / "results" / "mixing_speed.md"
COUNTS = (0, 1, 2, 4, 8, 16)
PROMPT, GUIDANCE, ASKED = "octopus, flat style, blue background", 1.0, 1.02  # guidance 1: one UNet evaluation a step
OURS, UNFUSED, FUSED = "sdlora", "diffusers `set_adapters`", "diffusers fused"
Times = dict[tuple[str, str], list[float]]  # seconds of each round, by (whose, how many adapters)


@dataclass(frozen=True)
class Bench:
    """A base with sixteen adapters: in a mixer, in diffusers' pipeline, and a pipeline that never had any."""

    name: str
    size: int
    steps: int
    mixer: Mixer
    pipeline: Any
    plain: Any

    @staticmethod
    def of(name: str, base: Base, size: int, steps: int, folder: Path) -> "Bench":
        files = adapter_files(base, ATTENTION, max(COUNTS), folder)
        mixer = Mixer(base, folder)
        return Bench(name, size, steps, mixer, pipeline_of(base, files), pipeline_of(base, [], base.unet))

    def ours(self) -> Callable[[], object]:
        settings = {"steps": self.steps, "guidance": GUIDANCE, "sampler": "DDIM", "size": self.size}
        return lambda: self.mixer.generate(PROMPT, seed=1, **settings)

    def theirs(self, pipeline: Any) -> Callable[[], object]:
        return lambda: pipeline(
            PROMPT,
            num_inference_steps=self.steps,
            guidance_scale=GUIDANCE,
            height=self.size,
            width=self.size,
            generator=torch.Generator().manual_seed(1),
        )

    def round(self, times: Times) -> None:
        """One picture of each contender with each number of adapters, and with eight whose weights are 0."""
        for count in random.sample(COUNTS, len(COUNTS)):  # so that no number always comes first
            weights = {f"a{n}": 0.5 / (n + 1) for n in range(count)}
            self.mixer.set(weights)
            times[OURS, str(count)].append(seconds(self.ours()))
            if not count:
                self.mixer.clear()
                none = seconds(self.theirs(self.plain))
                times[UNFUSED, "0"].append(none)
                times[FUSED, "0"].append(none)
                continue
            use(self.pipeline, weights)
            times[UNFUSED, str(count)].append(seconds(self.theirs(self.pipeline)))
            self.pipeline.fuse_lora(["unet"])
            times[FUSED, str(count)].append(seconds(self.theirs(self.pipeline)))
            self.pipeline.unfuse_lora(["unet"])
        asleep = {f"a{n}": 0.0 for n in range(8)}
        self.mixer.set(asleep)
        times[OURS, "8 at weight 0"].append(seconds(self.ours()))
        use(self.pipeline, asleep)
        times[UNFUSED, "8 at weight 0"].append(seconds(self.theirs(self.pipeline)))

    def eight_to_none(self) -> float:
        """How many times longer one picture takes with eight adapters than the one beside it without."""
        took = {}
        for count in random.sample((0, 8), 2):
            self.mixer.set({f"a{n}": 0.5 / (n + 1) for n in range(count)})
            took[count] = seconds(self.ours())
        return took[8] / took[0]


def image_table(bench: Bench, rounds: int, pairs: int) -> list[str]:
    """Seconds a picture, in markdown."""
    times: Times = defaultdict(list)
    for warm_up in (bench.ours(), bench.theirs(bench.plain), bench.theirs(bench.pipeline)):
        warm_up()
    for _ in range(rounds):
        bench.round(times)
    median = {key: statistics.median(values) for key, values in times.items()}
    columns = [*map(str, COUNTS), "8 at weight 0"]
    rows = [
        f"| {who} | " + " | ".join(f"{median[who, n]:.3f}" if (who, n) in median else "" for n in columns) + " |"
        for who in (OURS, UNFUSED, FUSED)
    ]
    theirs = {who: median[who, "8"] / median[who, "0"] for who in (UNFUSED, FUSED)}
    paired = sorted(bench.eight_to_none() for _ in range(pairs))
    half = f"half of them from {paired[pairs // 4]:.3f} to {paired[-1 - pairs // 4]:.3f}"
    return [
        f"## Seconds a picture: {bench.name}, {bench.size} px, {bench.steps} steps, median of {rounds}",
        "",
        f"| adapters | {' | '.join(columns)} |",
        "| --- |" + " --- |" * len(columns),
        *rows,
        "",
        f"Eight adapters ÷ none, {OURS}: {statistics.median(paired):.3f} in {pairs} pairs ({half}).",
        f"Asked: at most {ASKED}. From the table: {', '.join(f'{who} {ratio:.3f}' for who, ratio in theirs.items())};",
        "none is a pipeline in which there never was an adapter.",
        "",
    ]


def images(given: argparse.Namespace, dtype: torch.dtype) -> list[str]:
    text = []
    with tempfile.TemporaryDirectory() as folder:
        mini = load_base("mini", dtype=dtype)
        bench = Bench.of("mini", mini, mini.resolution, given.steps or 4, Path(folder))
        text += image_table(bench, given.rounds or (2 if given.quick else 7), 3 if given.quick else 30)
    if not given.quick:
        with tempfile.TemporaryDirectory() as folder:
            base = random_base("sd1", dtype=dtype)
            bench = Bench.of("SD 1.5 (random weights)", base, 256, given.steps or 2, Path(folder))
            text += image_table(bench, given.rounds or 3, 20)
    return text


def files(given: argparse.Namespace, dtype: torch.dtype) -> list[str]:
    base = load_base("mini", dtype=dtype) if given.quick else random_base("sd1", dtype=dtype)
    times = file_times(base, given.rounds or (2 if given.quick else 7))
    return two_columns(f"An adapter file of {'mini' if given.quick else 'SD 1.5'}", times)


def start(given: argparse.Namespace, dtype: torch.dtype) -> list[str]:
    times = start_times(given.rounds or (1 if given.quick else 3))
    return two_columns("The first picture after the start: a new process, mini, one adapter", times)


def two_columns(title: str, times: dict[str, list[float]]) -> list[str]:
    rows = [f"| {what} | {statistics.median(values):.3f} |" for what, values in times.items()]
    return [f"## {title}", "", "| | seconds, median |", "| --- | --- |", *rows, ""]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="mini and few rounds: to see that it works")
    parser.add_argument("--part", choices=["images", "files", "start"], help="this part alone, printed and not written")
    parser.add_argument("--steps", type=int, help="of each picture (mini 4, SD 1.5 2)")
    parser.add_argument("--rounds", type=int, help="of each part")
    given = parser.parse_args(arguments)
    quiet()
    dtype, before = fastest_dtype("cpu"), load()
    parts = {"images": images, "files": files, "start": start}
    body = [line for name, part in parts.items() if given.part in (None, name) for line in part(given, dtype)]
    facts = f"{machine('diffusers', 'peft')}; load {before} before, {load()} after."
    told = (
        f"{str(dtype).removeprefix('torch.')}, adapters of rank {RANK} on the UNet's attention, fp16 files, DDIM, "
        f"guidance {GUIDANCE:.0f}."
    )
    text = "\n".join(["# Drawing with adapters", "", told, facts, "", *body])
    print(text)
    if not given.quick and not given.part:
        write_text(RESULTS, text)


if __name__ == "__main__":
    main()
