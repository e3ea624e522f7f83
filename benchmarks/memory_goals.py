"""What SD 1.5 and SDXL would take on a GPU: an estimate. No GPU was at hand.

`python -m benchmarks.memory_goals` writes `benchmarks/results/memory_goals.md` in a few minutes. The tensors of a step
are counted with their true shapes, types and lifetimes on fake tensors, nothing is computed: weights, the adapter with
its gradients and AdamW's moments, and whatever forward and backward hold at the same time. What no tensor shows, CUDA's
own context and the allocator's fragments, is an assumption that is named.
"""

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from sdlora.bases import Base
from sdlora.bases.base import Family
from sdlora.bases.geometry import family_config, geometry_of
from sdlora.bases.networks import build_text_encoder, build_unet, build_vae
from sdlora.files import write_text
from sdlora.sampling.memory import use_tiles
from sdlora.training.gated_gelu import use_lean_gates
from sdlora.training.injection import inject
from sdlora.training.layers import Plan
from sdlora.training.memory_ladder import gib
from sdlora.training.memory_use import CUDA_CONTEXT
from sdlora.training.targets import select

from .machine import machine
from .memory_ledger import Ledger

RESULT = Path(__file__).parent / "results" / "memory_goals.md"
RANK, TARGETS, TOKENS = 16, ["attention"], 77
FRAGMENTS = 1.1  # what PyTorch's allocator takes for a byte that is used, assumed
DTYPE = torch.bfloat16


@dataclass(frozen=True)
class Case:
    """One way to train, on a GPU with `goal` bytes."""

    family: Family
    side: int
    goal: int
    batch: int = 1
    checkpointing: bool = False
    quantised: bool = False

    @property
    def words(self) -> str:
        ways = ["checkpointing"] if self.checkpointing else []
        ways += ["base in 8 bits"] if self.quantised else []
        return f"{self.family} {self.side} px, batch {self.batch}" + "".join(f", {way}" for way in ways)


CASES = (
    Case("sd1", 512, 6, batch=2),
    Case("sd1", 512, 6, batch=2, checkpointing=True),
    Case("sd1", 512, 6, checkpointing=True),
    Case("sdxl", 1024, 8),
    Case("sdxl", 1024, 8, checkpointing=True),
    Case("sdxl", 1024, 8, checkpointing=True, quantised=True),
)


def fake_base(family: Family) -> Base:
    """A base of true shapes, to be made among fake tensors: the VAE in fp32, as it encodes."""
    config = family_config(family)
    torch.set_default_dtype(DTYPE)  # fake weights can't be cast in place
    try:
        unet = build_unet(config["unet"])
        encoders = [build_text_encoder(encoder, i) for i, encoder in enumerate(config["text_encoders"])]
    finally:
        torch.set_default_dtype(torch.float32)
    return Base(
        family, family, geometry_of(unet.config), "epsilon", "fake", unet, build_vae(config["vae"]),
        encoders, [], config["scheduler"],
    )  # fmt: skip


def bytes_of(*networks: nn.Module, itemsize: int | None = None) -> int:
    return sum(p.numel() * (itemsize or p.itemsize) for network in networks for p in network.parameters())


def eight_bit_saves(network: nn.Module) -> int:
    """What `quantise` saves of the linear layers' weights, which are no plain parameters among fake tensors."""
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    return sum(layer.weight.numel() * (layer.weight.itemsize - 1) for layer in layers)


def inputs(base: Base, case: Case) -> tuple[tuple[torch.Tensor, ...], dict[str, Any]]:
    """What the UNet is given."""
    config, side = base.unet.config, case.side // base.vae_factor
    noisy = torch.zeros(case.batch, config["in_channels"], side, side, dtype=DTYPE)
    context = torch.zeros(case.batch, TOKENS, config["cross_attention_dim"], dtype=DTYPE)
    more: dict[str, Any] = {}
    if case.family == "sdxl":
        pooled = torch.zeros(case.batch, 1280, dtype=DTYPE)
        more = {"added_cond_kwargs": {"text_embeds": pooled, "time_ids": torch.zeros(case.batch, 6, dtype=DTYPE)}}
    return (noisy, torch.zeros(case.batch, dtype=torch.long), context), more


def step_bytes(base: Base, case: Case) -> tuple[int, int]:
    """Bytes of the adapter with AdamW's moments, and the most that a forward and backward pass hold beside weights;
    gradients are among the latter."""
    use_lean_gates(base.unet)
    base.unet.set_attn_processor(AttnProcessor2_0())
    layers = inject(base, select(base.modules(), TARGETS), Plan(RANK, RANK))
    base.unet.train()
    if case.checkpointing:
        base.unet.enable_gradient_checkpointing()
    given, more = inputs(base, case)
    ledger = Ledger()
    for tensor in (*base.unet.parameters(), *base.unet.buffers(), *given):
        ledger.know(tensor)
    with ledger:
        base.unet(*given, **more).sample.float().square().mean().backward()
    trained = sum(p.numel() for layer in layers.values() for p in layer.weights.values())
    return 12 * trained, ledger.peak


def encoding_bytes(base: Base, case: Case, *, tiles: bool = False) -> int:
    """The most that the VAE holds beside its weights while it encodes one image, in fp32; tile by tile if asked."""
    if tiles:
        use_tiles(base.vae)
    pixels = torch.zeros(1, 3, case.side, case.side)
    ledger = Ledger()
    for tensor in (*base.vae.parameters(), *base.vae.buffers(), pixels):
        ledger.know(tensor)
    with torch.no_grad(), ledger:
        base.vae.encode(pixels)
    return ledger.peak


def row(case: Case) -> str:
    """One line of the table."""
    with FakeTensorMode():
        base = fake_base(case.family)
        frozen = bytes_of(base.unet) - (eight_bit_saves(base.unet) if case.quantised else 0)
        vae, encoders = base.vae, base.text_encoders
        encoding = frozen + bytes_of(vae, *encoders) + encoding_bytes(base, case)
        alone = bytes_of(vae) + encoding_bytes(base, case, tiles=True)
        kept = frozen + bytes_of(vae, itemsize=2)
        adapter, work = step_bytes(base, case)
    steps = FRAGMENTS * (kept + adapter + work) + CUDA_CONTEXT
    whole, in_tiles = (FRAGMENTS * size + CUDA_CONTEXT for size in (encoding, alone))
    goal = case.goal << 30
    cells = (
        case.words,
        gib(kept),
        gib(adapter),
        gib(work),
        f"{gib(steps)}, {_fits(steps, goal)}",
        f"{gib(whole)}, {_fits(whole, goal)}",
        f"{gib(in_tiles)}, {_fits(in_tiles, goal)}",
    )
    return "| " + " | ".join(cells) + " |"


def _fits(size: float, goal: int) -> str:
    return f"fits {goal >> 30} GB" if size <= goal else f"over {goal >> 30} GB"


def report(cases: Iterable[Case]) -> str:
    """All estimates, as markdown."""
    return "\n".join([
        "# Memory on a GPU: estimates",
        "",
        "**Nothing here was measured on a GPU.** The tensors of a step were counted with their true shapes, types and",
        f"lifetimes ({machine('diffusers')}). Base in bf16, rank {RANK}, attention of the UNet adapted, AdamW.",
        f"The totals assume {gib(CUDA_CONTEXT)} for CUDA's context and {FRAGMENTS - 1:.0%} for the allocator's",
        "fragments; cuDNN's workspaces are not in them.",
        "",
        "| | frozen, VAE in bf16 | adapter, AdamW | forward and backward | steps, all | encoding | alone, in tiles |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *map(row, cases),
        "",
    ])  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULT, help=f"markdown file ({RESULT.name} in results/)")
    parser.add_argument("--first", type=int, default=len(CASES), help="only so many cases")
    given = parser.parse_args(arguments)
    text = report(CASES[: given.first])
    print(text)
    write_text(given.out, text)


if __name__ == "__main__":
    main()
