"""The exact sum of updates on one weight. Mixing, evaluation, previews and `apply` all come through here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ..updates import LoRA, Update

Term = tuple[float, Update]


@dataclass(frozen=True, eq=False)
class Concatenated:
    """Low-rank updates of one module side by side, so that Σ wᵢ · ΔWᵢ is one product for any weights.

    `up` (out, Σ rank) has each update's scale in it, `down` is (Σ rank, in·kh·kw); both fp32. `ranks` are the updates'.
    """

    up: Tensor
    down: Tensor
    ranks: tuple[int, ...]

    @classmethod
    def of(cls, updates: Sequence[LoRA], device: torch.device) -> Self:
        ups, downs = zip(*(update.factors(device) for update in updates), strict=True)
        return cls(torch.cat(ups, dim=1), torch.cat(downs), tuple(update.rank for update in updates))

    def weighted_up(self, weights: Sequence[float]) -> Tensor:
        """`up` with each update's columns times its weight."""
        columns = [weight for weight, rank in zip(weights, self.ranks, strict=True) for _ in range(rank)]
        return self.up * torch.tensor(columns, dtype=torch.float32, device=self.up.device)


class Scratch:
    """Memory for one sum at a time, used again for the next: fresh pages cost as much as writing the sum."""

    def __init__(self) -> None:
        self._values = torch.empty(0)

    def matrix(self, rows: int, columns: int, device: torch.device) -> Tensor:
        """(rows, columns) in fp32, not set to anything. The one before is overwritten."""
        size = rows * columns
        if self._values.device != device or len(self._values) < size:
            self._values = torch.empty(size, dtype=torch.float32, device=device)
        return self._values[:size].view(rows, columns)


def mixed_weight(weight: Tensor, terms: Sequence[Term]) -> Tensor:
    """weight + Σ wᵢ · ΔWᵢ: summed in fp32 in the order given, added once, rounded once to the weight's dtype.

    `weight` must be the pristine one. Low-rank terms are concatenated along the rank into one matrix product;
    the others add their deltas. The same terms in the same order give the same bits.
    """
    return add(weight, summed(weight, terms), torch.empty_like(weight))


def summed(
    weight: Tensor, terms: Sequence[Term], low_rank: Concatenated | None = None, scratch: Scratch | None = None
) -> Tensor:
    """Σ wᵢ · ΔWᵢ in fp32, in the weight's shape; the sum that `mixed_weight` adds.

    `low_rank` spares its making where the LoRA updates among the terms are the same as before. The sum lies in
    `scratch`, where that is given, until the next one does.
    """
    delta = (scratch or Scratch()).matrix(len(weight), math.prod(weight.shape[1:]), weight.device)
    weights, updates = split(terms)
    with torch.autocast(weight.device.type, enabled=False):  # a caller's autocast would multiply in half precision
        if updates:
            low_rank = low_rank or Concatenated.of(updates, weight.device)
            torch.mm(low_rank.weighted_up(weights), low_rank.down, out=delta)
        else:
            delta.zero_()
        delta = delta.view(weight.shape)
        for w, update in terms:
            if not isinstance(update, LoRA):
                delta += w * update.delta(weight)
    return delta


def split(terms: Sequence[Term]) -> tuple[list[float], list[LoRA]]:
    """The weights of the low-rank terms, and their updates, in order."""
    low_rank = [(w, update) for w, update in terms if isinstance(update, LoRA)]
    return [w for w, _ in low_rank], [update for _, update in low_rank]


def add(weight: Tensor, delta: Tensor, out: Tensor) -> Tensor:
    """weight + delta (fp32), added in fp32 and rounded once to the dtype of `out`, in which it is written."""
    return torch.add(weight, delta, out=out)


def mixed_bias(bias: Tensor, terms: Sequence[Term]) -> Tensor:
    """bias + Σ wᵢ · Δbᵢ over the terms that change the bias: summed in fp32, added once, rounded once."""
    delta = torch.zeros((), device=bias.device)
    for w, update in terms:
        change = update.bias_delta(bias)
        if change is not None:
            delta = delta + w * change
    return (bias.to(torch.float32) + delta).to(bias.dtype)
