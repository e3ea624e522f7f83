"""What an adapter costs while pictures are drawn: a LoRA merged, the same one beside its modules, and a bottleneck.

`python -m benchmarks.bottleneck_latency` writes `benchmarks/results/bottleneck_latency.md` in about four minutes on an
idle machine; `--quick` tries it out on mini alone and writes nothing. One forward pass of the UNet over two pictures,
as guidance asks for it, on mini at 64 px and on SD 1.5's shapes with random weights at 256 px (time does not depend on
them). Rank 16: the LoRA in all 128 linear layers of the attention, the bottlenecks behind its 32 blocks. All ways take
turns in one process; medians.
"""

import argparse
import statistics
import time
from collections import defaultdict
from pathlib import Path

import torch

from sdlora.adapters import Adapter
from sdlora.adapters.updates import Bottleneck, LoRA
from sdlora.bases import Base, load_base
from sdlora.bases.random_base import random_base
from sdlora.files import write_text
from sdlora.mixing.mix import Weights
from sdlora.mixing.mixed_weights import MixedWeights
from sdlora.mixing.room import Room
from sdlora.training.targets import select

from .machine import machine

RESULT = Path(__file__).parent / "results" / "bottleneck_latency.md"
RANK = 16
WAYS = ("the base alone", "LoRA, merged", "LoRA, beside its modules", "bottleneck")


class NoRoom(Room):
    """Of a machine without memory for a copy of the weights, on which nothing is merged."""

    def where(self, size: int, device: torch.device) -> str:  # type: ignore[override]
        return "nowhere"


def adapters(base: Base) -> dict[str, Adapter]:
    """One of each kind on the attention, with random numbers."""
    modules = base.modules()
    own = torch.Generator().manual_seed(0)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=own) / 100

    lora, bottleneck = {}, {}
    for path in select(modules, ["attention"]):
        out, inputs = modules[path].weight.shape  # type: ignore[union-attr,misc]
        lora[path] = LoRA(numbers(RANK, inputs), numbers(out, RANK), RANK)
        if path.endswith("to_out.0"):
            bottleneck[path] = Bottleneck(numbers(RANK, out), numbers(RANK), numbers(out, RANK), numbers(out))
    return {"lora": Adapter("lora", dict(lora)), "bottleneck": Adapter("bottleneck", dict(bottleneck))}


@torch.inference_mode()
def measured(base: Base, side: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of a forward pass in each way, taken in turn."""
    of, found = adapters(base), defaultdict(list)
    merged, beside = MixedWeights(base), MixedWeights(base, NoRoom)
    mixes = dict(
        zip(WAYS, [(merged, None), (merged, of["lora"]), (beside, of["lora"]), (merged, of["bottleneck"])], strict=True)
    )
    config = base.unet.config
    latents = torch.randn(2, config["in_channels"], side // base.vae_factor, side // base.vae_factor)
    context = torch.randn(2, base.tokenizers[0].model_max_length, config["cross_attention_dim"])
    for round in range(rounds + 1):
        for way, (weights, adapter) in mixes.items():
            weights.set([(adapter, Weights())] if adapter else [])
            start = time.perf_counter()
            base.unet(latents, torch.tensor([500]), context)
            if round:  # the first one warms up
                found[way].append(time.perf_counter() - start)
            weights.set([])
    return found


def table(name: str, found: dict[str, list[float]]) -> list[str]:
    """The rows of one base."""
    alone = statistics.median(found[WAYS[0]])
    rows = []
    for way, taken in found.items():
        now = statistics.median(taken)
        more = "" if way == WAYS[0] else f"{now / alone - 1:+.1%}"
        rows.append(f"| {name} | {way} | {1000 * now:.1f} | {more} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="mini alone, a few rounds; write nothing")
    quick = parser.parse_args().quick
    rows = table("mini, 64 px", measured(load_base("mini"), 64, 5 if quick else 60))
    if not quick:
        rows += table("SD 1.5's shapes, 256 px", measured(random_base("sd1"), 256, 9))
    lines = [
        "# What an adapter costs while pictures are drawn",
        "",
        f"`python -m benchmarks.bottleneck_latency`: {machine('diffusers')}, fp32. Milliseconds of one UNet",
        "forward pass over two pictures, medians; the ways take turns.",
        "",
        "| base | way | ms | more than the base |",
        "| --- | --- | --- | --- |",
        *rows,
    ]
    print("\n".join(lines))
    if not quick:
        write_text(RESULT, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
