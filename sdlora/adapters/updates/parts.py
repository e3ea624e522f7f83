"""Checks of the parts that an update is made of, and what several kinds do with theirs."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ...errors import Error

Parts = Mapping[str, Tensor]
MAX_RANK = 2**14  # several times what the widest matrix of any family can use


def check_factors(kind: str, rank: int, alpha: float, *factors: Tensor) -> None:
    """What all low-rank kinds ask of their factors. Raises `Error`.

    A rank that no model has room for comes from a file that is broken or means harm.
    """
    if rank > MAX_RANK:
        raise Error(f"rank {rank} is more than any model has room for (at most {MAX_RANK})")
    if not math.isfinite(alpha):
        raise Error(f"alpha is {alpha}")
    if any(factor.numel() == 0 for factor in factors):
        raise Error(f"one of its parts is empty, so there is no {kind} update")


def check_numbers(parts: Parts) -> None:
    """Raises `Error` naming the first part that holds NaN or infinite values, or no real numbers."""
    for name, tensor in parts.items():
        if tensor.is_complex() or not tensor.to(torch.float32).isfinite().all():
            raise Error(f"its {name} holds NaN or infinite values, or no real numbers")


def part(parts: Parts, name: str) -> Tensor:
    """The part of that name. Raises `Error` when it is missing."""
    if name not in parts:
        raise Error(f"its {name} is missing (it has {', '.join(sorted(parts))})")
    return parts[name]


def number(parts: Parts, name: str, missing: float) -> float:
    """The single number in a part such as alpha, or `missing`. Raises `Error` when it is not one number."""
    if name not in parts:
        return float(missing)
    if parts[name].numel() != 1:
        raise Error(f"its {name} is not one number but {tuple(parts[name].shape)}")
    return float(parts[name])


def as_part(value: float) -> Tensor:
    """A number as files keep it: no dimensions, and fp32, since an alpha such as 11.3 would change in fp16."""
    return torch.tensor(value, dtype=torch.float32)


def fp32(tensor: Tensor, like: Tensor) -> Tensor:
    """The tensor in fp32 on the device of `like`."""
    return tensor.to(like.device, torch.float32)


def tucker_product(core: Tensor, outputs: Tensor, inputs: Tensor) -> Tensor:
    """Σ core[i, j, …] · outputs[i, o] · inputs[j, c] as (o, c, …): a kernel put together by Tucker decomposition."""
    return torch.einsum("ij...,io,jc->oc...", core, outputs, inputs)
