"""How exact a mix of four adapters is in the base's own weights: sdlora's, and diffusers' fused, against fp64.

`OMP_NUM_THREADS=1 python -m benchmarks.mix_exactness` writes `benchmarks/results/mix_exactness.md` in some minutes;
`--quick` tries it out on mini and writes nothing. SD 1.5 with random weights, attention and feed-forward of the UNet,
rank 16, the same files for both. Both are asked twice: with the mix set once, and after its sliders were moved
four times and back.
"""

import argparse
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from sdlora import Mixer, load_adapter, load_base
from sdlora.adapters import Adapter
from sdlora.bases.random_base import random_base
from sdlora.files import write_text
from tests.adapters.made import ATTENTION, FEED_FORWARD

from .machine import machine
from .mixed_by_diffusers import RANK, adapter_files, pipeline_of, quiet, use

RESULTS = Path(__file__).parent / "results" / "mix_exactness.md"
MIX, MOVES = {"a0": 0.9, "a1": 0.7, "a2": -0.6, "a3": 0.8}, 4
BITS = {torch.float32: 24, torch.bfloat16: 8, torch.float16: 11}  # of a significand
Weights = dict[str, Tensor]  # of the UNet, by module path


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="mini: to see that it works")
    given = parser.parse_args(arguments)
    quiet()
    found = [line for dtype in BITS for line in lines(dtype, given.quick)]
    text = [
        "# A mix of four adapters, element by element",
        "",
        f"{'mini' if given.quick else 'SD 1.5 (random weights)'}, attention and feed-forward, rank {RANK}, weights",
        f"{tuple(MIX.values())}. {machine('diffusers', 'peft')}.",
        "",
        "Error: |mixed − fp64| ÷ (½ ulp of the base's dtype + 2⁻²⁰ · (|W| + Σ |wᵢ·scaleᵢ| · (|upᵢ| · |downᵢ|))), the",
        f"largest of all elements; asked for: at most 1. Moved: after {MOVES} other mixes, the same one again.",
        "",
        "| dtype | mixed by | error | equal to fp64's, rounded | error, moved | the mix, moved | base afterwards |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(line for line, _ in found),
        "",
    ]
    print("\n".join(text))
    if not given.quick:
        write_text(RESULTS, "\n".join(text))
    if not all(exact for _, exact in found):
        raise SystemExit(1)


@dataclass(frozen=True)
class Contender:
    """Who mixes, and the weights that it mixes into. `free` takes the mix off; `ready` makes way for another mix."""

    name: str
    put: Callable[[dict[str, float]], object]
    ready: Callable[[], object]
    free: Callable[[], object]
    weights: Weights


def lines(dtype: torch.dtype, quick: bool) -> list[tuple[str, bool]]:
    """A row for sdlora and one for diffusers, and whether what is asked for holds (which diffusers is not asked)."""
    base = load_base("mini", dtype=dtype) if quick else random_base("sd1", dtype=dtype)
    with tempfile.TemporaryDirectory() as name:
        files = adapter_files(base, f"{ATTENTION}|{FEED_FORWARD}", len(MIX), Path(name), size=0.02)
        adapters = {file.stem: load_adapter(file) for file in files}
        modules = base.modules()
        before = {path: modules[path].weight.detach().clone() for path in adapters["a0"].updates}
        contenders = [ours(Mixer(base, Path(name)), list(before)), theirs(pipeline_of(base, files), list(before))]
        return [row(contender, before, adapters) for contender in contenders]


def ours(mixer: Mixer, paths: list[str]) -> Contender:
    modules = mixer.base.modules()
    weights = {path: modules[path].weight for path in paths}
    return Contender("sdlora", mixer.set, lambda: None, mixer.clear, weights)


def theirs(pipeline: StableDiffusionPipeline, paths: list[str]) -> Contender:
    modules = dict(pipeline.unet.named_modules())

    def put(mix: dict[str, float]) -> None:
        use(pipeline, mix)
        pipeline.fuse_lora(["unet"])

    def free() -> None:
        pipeline.unfuse_lora(["unet"])

    weights = {path: modules[path.removeprefix("unet.")].base_layer.weight for path in paths}
    return Contender("diffusers, fused", put, free, free, weights)


def row(who: Contender, before: Weights, adapters: dict[str, Adapter]) -> tuple[str, bool]:
    chance = random.Random(1)
    who.put(MIX)
    once = {path: weight.detach().clone() for path, weight in who.weights.items()}
    error, rounded = errors(once, before, adapters)
    for _ in range(MOVES):
        who.ready()
        who.put({key: chance.uniform(-1, 1) for key in MIX})
    who.ready()
    who.put(MIX)
    moved, _ = errors(who.weights, before, adapters)
    same = equal(who.weights, once)
    who.free()
    back = equal(who.weights, before)
    dtype = str(next(iter(before.values())).dtype).removeprefix("torch.")
    told = " | ".join("the same bits" if bits else "other bits" for bits in (same, back))
    line = f"| {dtype} | {who.name} | {error:.4g} | {rounded:.3%} | {moved:.4g} | {told} |"
    return line, who.name != "sdlora" or (error <= 1 and moved <= 1 and same and back)


def errors(mixed: Weights, before: Weights, adapters: dict[str, Adapter]) -> tuple[float, float]:
    """The largest error in parts of what is allowed, and the share of values that are the fp64 sum's, rounded."""
    worst, right, count = 0.0, 0, 0
    for path, weight in before.items():
        exact, size = weight.double(), weight.double().abs()
        for key, adapter in adapters.items():
            update = adapter.updates[path]
            up, down = update.up.double().flatten(1), update.down.double().flatten(1)
            scale = MIX[key] * update.alpha / update.rank
            exact = exact + scale * (up @ down).reshape(weight.shape)
            size = size + abs(scale) * (up.abs() @ down.abs()).reshape(weight.shape)
        found = mixed[path].detach().double()
        allowed = half_ulp(torch.maximum(exact.abs(), found.abs()), weight.dtype) + 2.0**-20 * size
        worst = max(worst, float(((found - exact).abs() / allowed).max()))
        right += int((exact.to(weight.dtype) == mixed[path]).sum())
        count += exact.numel()
    return worst, right / count


def half_ulp(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Half a unit in the last place of `dtype` at these magnitudes (fp64), the smallest numbers of all included."""
    info = torch.finfo(dtype)
    return (2.0 ** (torch.frexp(values)[1] - BITS[dtype] - 1)).clamp(min=info.smallest_normal * info.eps / 2)


def equal(some: Weights, others: Weights) -> bool:
    return all(torch.equal(some[path], others[path]) for path in some)


if __name__ == "__main__":
    main()
