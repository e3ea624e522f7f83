"""TIES and DARE: merging that first makes each ΔW sparse. On true deltas, never on the factors of low-rank ones."""

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...errors import Error


def check_density(density: float) -> None:
    """Raises `Error` for a density that is no share."""
    if not 0 < density <= 1:
        raise Error(f"density is {density}, the share of values that stay: give more than 0 and at most 1")


def ties(deltas: Sequence[Tensor], weights: Sequence[float], density: float) -> Tensor:
    """TIES (Yadav et al., 2023, arXiv:2306.01708): trim, elect signs, take the mean of those that agree.

    Of each ΔW the `density` largest values stay; each place takes the sign of the weighted sum, and the mean of the
    weighted values of that sign. Equal weights are the paper's λ. The paper trims over all modules at once; here, as in
    PEFT, each module is trimmed by itself.
    """
    weighted = torch.stack([w * _trimmed(delta, density) for w, delta in zip(weights, deltas, strict=True)])
    agreeing = (weighted.sign() == weighted.sum(0).sign()) & (weighted != 0)
    return (weighted * agreeing).sum(0) / agreeing.sum(0).clamp_min(1)


def dare(deltas: Sequence[Tensor], weights: Sequence[float], density: float, seed: int, path: str) -> Tensor:
    """DARE (Yu et al., 2023, arXiv:2311.03099): drop values at random, divide those that stay by `density`, and add up.

    Its expectation is the plain sum. What is dropped depends on the seed, the adapter's place and the module alone.
    """
    total = torch.zeros_like(deltas[0])
    for place, (w, delta) in enumerate(zip(weights, deltas, strict=True)):
        kept = torch.rand(delta.shape, generator=_generator(seed, place, path)) < density
        total += w / density * delta * kept
    return total


def _trimmed(delta: Tensor, density: float) -> Tensor:
    values = delta.flatten()
    kept = values.abs().topk(math.ceil(density * values.numel())).indices
    return torch.zeros_like(values).index_copy(0, kept, values[kept]).reshape(delta.shape)


def _generator(seed: int, place: int, path: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}:{place}:{path}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
