"""Adapters of every linear layer and projection that a full SD 1.5 file has, with random numbers."""

import re

import torch

from sdlora.adapters import Adapter, LoRA
from sdlora.adapters.tables import rows
from tests.adapters.made import FULL, random_lora

SHAPES = {row.path: row.shape for row in rows("sd1") if re.fullmatch(FULL, row.path)}  # 192 + 72 modules


def full_target(name: str, rank: int, alpha: float, seed: int, dtype: torch.dtype = torch.float32) -> Adapter:
    """Factors of the size that trainings end with; singular values fall by a factor of 20 over the ranks."""
    fall = 20 ** -torch.linspace(0, 1, rank)
    updates = {}
    for number, (path, shape) in enumerate(SHAPES.items()):
        made = random_lora(shape, rank, alpha, seed + 10_000 * number, size=1e-2)
        up = made.up * fall.reshape(1, -1, *(1 for _ in shape[2:]))
        updates[path] = LoRA(made.down.to(dtype), up.to(dtype), alpha)
    return Adapter(name, dict(updates), family="sd1")
