"""Changing one slider of eight, and all eight: sdlora's mixer, and diffusers' unfuse + set + fuse.

`python -m benchmarks.slider_speed` writes `benchmarks/results/slider_speed_fp32.md` in two minutes, on an idle
machine; `--quick` tries it out on mini and writes nothing. SD 1.5 with random weights (time does not depend on them),
eight adapters of rank 16 on the UNet's attention, read from the same files. The two take turns, change by change, in
one process; medians. `--dtype bf16` measures that precision instead and writes a table of its own.
"""

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline

from sdlora import Mixer, load_base
from sdlora.bases import Base
from sdlora.bases.random_base import random_base
from sdlora.files import write_text
from sdlora.mixing import merged_module
from tests.adapters.made import ATTENTION

from .machine import load, machine
from .mixed_by_diffusers import RANK, adapter_files, pipeline_of, quiet

ADAPTERS, ASKED = 8, 4.0
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
RESULTS = Path(__file__).parent / "results"
Weights = dict[str, float]
Phases = dict[str, float]  # seconds of each phase of one change
PHASES = {"sdlora": ("finding", "summing", "writing"), "diffusers": ("unfuse", "set", "fuse")}


def our_change(mixer: Mixer, weights: Weights) -> Phases:
    """`Mixer.set`, and how long its sums and its writing took; finding what changed is the rest."""
    phases: Phases = {}
    with timed(merged_module, "summed", phases, "summing"), timed(merged_module, "add", phases, "writing"):
        whole = seconds(lambda: mixer.set(weights))
    return {"finding": whole - sum(phases.values()), **phases}


def their_change(pipeline: StableDiffusionPipeline, weights: Weights) -> Phases:
    """What diffusers asks for when a weight of fused adapters changes."""
    return {
        "unfuse": seconds(lambda: pipeline.unfuse_lora(components=["unet"])),
        "set": seconds(lambda: pipeline.set_adapters(list(weights), list(weights.values()))),
        "fuse": seconds(lambda: pipeline.fuse_lora(components=["unet"])),
    }


@contextmanager
def timed(owner: Any, name: str, phases: Phases, phase: str) -> Iterator[None]:
    """Counts the time of every call of a function towards a phase."""
    function, phases[phase] = getattr(owner, name), 0.0

    def counted(*arguments: Any) -> Any:
        start = time.perf_counter()
        result = function(*arguments)
        phases[phase] += time.perf_counter() - start
        return result

    setattr(owner, name, counted)
    try:
        yield
    finally:
        setattr(owner, name, function)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measured(mixer: Mixer, pipeline: StableDiffusionPipeline, rounds: int) -> dict[tuple[str, str], list[Phases]]:
    """{(what changes, whose): phases of each round}, taken in turn."""
    names = [f"a{n}" for n in range(ADAPTERS)]
    weights = {name: 0.1 * n + 0.1 for n, name in enumerate(names)}
    mixer.set(weights)
    pipeline.set_adapters(names, list(weights.values()))
    pipeline.fuse_lora(components=["unet"])
    found: dict[tuple[str, str], list[Phases]] = defaultdict(list)
    for n in range(rounds + 1):
        for what, moved in (("one of eight", names[3:4]), ("all eight", names)):
            weights = weights | {name: weights[name] + 0.01 for name in moved}
            taken = {"sdlora": our_change(mixer, weights), "diffusers": their_change(pipeline, weights)}
            if n:  # the first round warms up
                for whose, phases in taken.items():
                    found[what, whose].append(phases)
    found["nothing", "sdlora"] = [our_change(mixer, weights) for _ in range(rounds)]
    return found


def difference(base: Base, pipeline: StableDiffusionPipeline) -> float:
    """The largest difference of any weight that both mixed, so that it is the same thing that was measured."""
    theirs = {n.replace(".base_layer", ""): p.detach() for n, p in pipeline.unet.named_parameters() if "lora_" not in n}
    return max(float((p - theirs[n]).abs().max()) for n, p in base.unet.named_parameters())


def row(what: str, whose: str, taken: list[Phases]) -> str:
    whole = statistics.median(sum(phases.values()) for phases in taken)
    parts = [f"{phase} {statistics.median(p[phase] for p in taken):.4f}" for phase in PHASES[whose]]
    return f"| {what} | {whose} | {whole:.4f} | {', '.join(parts)} |"


def report(quick: bool, dtype: str, rounds: int) -> str:
    """Measure everything; the whole result as markdown."""
    base = load_base("mini", dtype=DTYPES[dtype]) if quick else random_base("sd1", dtype=DTYPES[dtype])
    with tempfile.TemporaryDirectory() as name:
        files = adapter_files(base, ATTENTION, ADAPTERS, Path(name))
        pipeline, mixer, before = pipeline_of(base, files), Mixer(base, Path(name)), load()
        with torch.no_grad():
            found = measured(mixer, pipeline, rounds)
            apart = difference(base, pipeline)
    whole = {key: statistics.median(sum(phases.values()) for phases in taken) for key, taken in found.items()}
    ratios = {what: whole[what, "diffusers"] / whole[what, "sdlora"] for what, whose in found if whose == "diffusers"}
    told = ", ".join(f"{what} {ratio:.1f} ×" for what, ratio in ratios.items())
    return "\n".join([
        f"# Changing sliders, {dtype}",
        "",
        f"{'mini' if quick else 'SD 1.5 (random weights)'}, {ADAPTERS} adapters of rank {RANK} on the UNet's",
        f"attention, fp16 files; median of {rounds} changes of each, in turn. diffusers: `unfuse_lora`,",
        "`set_adapters`, `fuse_lora`.",
        f"{machine('diffusers', 'peft')}; load {before} before, {load()} after.",
        "",
        "| changed | by | seconds | phases |",
        "| --- | --- | --- | --- |",
        *(row(what, whose, taken) for (what, whose), taken in found.items()),
        "",
        f"diffusers ÷ sdlora: {told} (asked for: at least {ASKED:.0f} ×).",
        f"After all changes their weights differ by {apart:.1e} at most.",
        "",
    ])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="mini and few rounds: to see that it works")
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="fp32", help="of the base, for both (fp32)")
    parser.add_argument("--rounds", type=int, help="changes of each (9; quick: 3)")
    given = parser.parse_args(arguments)
    quiet()
    text = report(given.quick, given.dtype, given.rounds or (3 if given.quick else 9))
    print(text)
    if not given.quick:
        write_text(RESULTS / f"slider_speed_{given.dtype}.md", text)


if __name__ == "__main__":
    main()
