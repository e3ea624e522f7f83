"""Adapters with random numbers, and files as other programs write them."""

import re
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sdlora.adapters import Adapter, LoRA
from sdlora.bases import Base

ATTENTION = r"unet\..*\.attn[12]\.(to_q|to_k|to_v|to_out\.0)"
FEED_FORWARD = r"unet\..*\.ff\.net\.(0\.proj|2)"
TEXT_ATTENTION = r"text_encoder.*\.self_attn\.\w+_proj"
# The 192 UNet and all text encoder modules of a full SD 1.5 file, by the same patterns for every family.
FULL = r"unet\..*\.attentions\.\d+\.(?!norm$).*(?<!norm\d)|text_encoder.*\.(self_attn\.\w+|mlp\.fc\d)"


def numbers(shape: tuple[int, ...], seed: int, size: float = 1.0) -> Tensor:
    return size * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_lora(shape: tuple[int, ...], rank: int, alpha: float, seed: int, size: float = 1.0) -> LoRA:
    """A LoRA for a weight of this shape whose ΔW has values of about alpha / rank · `size`."""
    up_shape = (shape[0], rank) + (1,) * (len(shape) - 2)
    inputs = numbers((rank, *shape[1:]), 2 * seed) * rank**-0.5
    return LoRA(inputs, numbers(up_shape, 2 * seed + 1, size), alpha)


def random_adapter(
    base: Base,
    pattern: str,
    *,
    name: str = "made",
    rank: int = 4,
    alpha: float = 2.0,
    seed: int = 0,
    size: float = 0.02,
) -> Adapter:
    """Random updates, large enough to be seen, for every linear layer and convolution whose path matches."""
    updates = {
        path: random_lora(tuple(module.weight.shape), rank, alpha, seed + 1000 * index, size)
        for index, (path, module) in enumerate(base.modules().items())
        if isinstance(module, nn.Linear | nn.Conv2d) and re.fullmatch(pattern, path)
    }
    assert updates
    return Adapter(name, updates, family=base.family)


def kohya_file(path: Path, modules: dict[str, LoRA], metadata: dict[str, str] | None = None, **more: Tensor) -> Path:
    """A file as kohya's scripts write it, made without our writer: {name with prefix: update}, and more keys."""
    tensors = dict(more)
    for name, update in modules.items():
        tensors[f"{name}.lora_down.weight"] = update.down
        tensors[f"{name}.lora_up.weight"] = update.up
        tensors[f"{name}.alpha"] = torch.tensor(update.alpha)
    save_file(tensors, path, metadata)
    return path
