"""The exact sum of updates on one weight. Mixing, evaluation, previews and `apply` all come through here."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..updates import LoRA, Update

Term = tuple[float, Update]


def mixed_weight(weight: Tensor, terms: Sequence[Term]) -> Tensor:
    """weight + Σ wᵢ · ΔWᵢ: summed in fp32 in the order given, added once, rounded once to the weight's dtype.

    `weight` must be the pristine one. Low-rank terms are concatenated along the rank into one matrix product;
    the others add their deltas. The same terms in the same order give the same bits.
    """
    low_rank = [(w, update) for w, update in terms if isinstance(update, LoRA)]
    delta = torch.zeros((), device=weight.device)
    with torch.autocast(weight.device.type, enabled=False):  # a caller's autocast would multiply in half precision
        if low_rank:
            delta = delta + _low_rank_sum(weight, low_rank)
        for w, update in terms:
            if not isinstance(update, LoRA):
                delta = delta + w * update.delta(weight)
    return (weight.to(torch.float32) + delta).to(weight.dtype)


def mixed_bias(bias: Tensor, terms: Sequence[Term]) -> Tensor:
    """bias + Σ wᵢ · Δbᵢ over the terms that change the bias: summed in fp32, added once, rounded once."""
    delta = torch.zeros((), device=bias.device)
    for w, update in terms:
        change = update.bias_delta(bias)
        if change is not None:
            delta = delta + w * change
    return (bias.to(torch.float32) + delta).to(bias.dtype)


def _low_rank_sum(weight: Tensor, terms: Sequence[tuple[float, LoRA]]) -> Tensor:
    """Σ wᵢ · upᵢ · downᵢ as one product of the concatenated factors, (out, Σ rank) · (Σ rank, in)."""
    ups, downs = zip(*(update.factors(weight.device) for _, update in terms), strict=True)
    scaled = torch.cat([w * up for (w, _), up in zip(terms, ups, strict=True)], dim=1)
    return (scaled @ torch.cat(downs, dim=0)).reshape(weight.shape)
