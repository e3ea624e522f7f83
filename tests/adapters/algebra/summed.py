"""Reference sums in fp64, written without the algebra under test."""

import torch
from torch import Tensor

from sdlora.adapters import Adapter, LoRA


def delta64(update: LoRA) -> Tensor:
    """(alpha / rank) · up · down as an fp64 matrix (out, in·kh·kw)."""
    up, down = update.up.double().flatten(1), update.down.double().flatten(1)
    return update.alpha / update.rank * (up @ down)


def sum64(adapters: list[Adapter], weights: list[float], path: str) -> Tensor:
    """Σ wᵢ · ΔWᵢ of low-rank adapters as an fp64 matrix."""
    own = [(w, a.updates[path]) for a, w in zip(adapters, weights, strict=True) if path in a.updates]
    return torch.stack([w * delta64(update) for w, update in own]).sum(0)


def relative(found: Tensor, exact: Tensor) -> float:
    return float((found.double().flatten() - exact.double().flatten()).norm() / exact.double().norm())
