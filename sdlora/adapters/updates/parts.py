"""Checks of the numbers that an update is made of."""

import math

import torch
from torch import Tensor

from ...errors import Error

MAX_RANK = 2**14  # several times what the widest matrix of any family can use


def check_rank(rank: int) -> None:
    """Raises `Error` for a rank that no model has room for: a file that says so is broken or means harm."""
    if rank > MAX_RANK:
        raise Error(f"rank {rank} is more than any model has room for (at most {MAX_RANK})")


def check_alpha(alpha: float) -> None:
    """Raises `Error` for an alpha that is no finite number."""
    if not math.isfinite(alpha):
        raise Error(f"alpha is {alpha}")


def check_finite(parts: dict[str, Tensor]) -> None:
    """Raises `Error` naming the first part that holds NaN or infinite values."""
    for part, tensor in parts.items():
        if tensor.is_complex() or not tensor.float().isfinite().all():
            raise Error(f"its {part} holds NaN or infinite values, or no real numbers")


def one_number(value: float) -> Tensor:
    """A tensor as files keep alphas: no dimensions, fp32, since one such as 11.3 would change in fp16."""
    return torch.tensor(value, dtype=torch.float32)


def alpha_or(parts: dict[str, Tensor], missing: float) -> float:
    """The alpha among `parts`, or `missing`. Raises `Error` when it is not one number."""
    if "alpha" not in parts:
        return missing
    if parts["alpha"].numel() != 1:
        raise Error(f"its alpha is not one number but {tuple(parts['alpha'].shape)}")
    return float(parts["alpha"])
