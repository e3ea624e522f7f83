"""A mix as one adapter."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence

from torch import Tensor

from ..adapters import Adapter
from ..adapters.algebra import ErrorReport, merge
from ..adapters.algebra.describing import of_family
from ..adapters.updates import Update
from ..bases import Base
from ..errors import Error
from .learned_tokens import LearnedTokens
from .mix import Weights
from .timeline import ALWAYS

MIX_KEY = "sdlora.mix"  # JSON: what the adapter was made of


def one_adapter(
    name: str,
    base: Base,
    mix: Sequence[tuple[Adapter, Weights]],
    tokens: LearnedTokens,
    pristine: Mapping[str, Tensor],
    rank: int | None,
) -> tuple[Adapter, ErrorReport]:
    """What the mix adds to the base, at weight 1, with all weights and block factors in it; and its error.

    Exact without `rank`, see `algebra.merge`. Raises `Error` for a mix that changes nothing, or not always.
    """
    active = [(adapter, weights) for adapter, weights in mix if weights.active]
    if not active:
        raise Error("there is nothing to export: the mix has no adapter with a weight other than 0")
    for adapter, weights in active:
        if weights.span != ALWAYS:
            raise Error(f"one adapter can't do what this mix does: {adapter.name!r} acts for part of the time only")
    parts = [part for adapter, weights in active for part in _by_weight(adapter, weights)]
    if parts:
        merged, report = merge([part for part, _ in parts], [weight for _, weight in parts], rank=rank, base=pristine)
    else:
        merged, report = Adapter(name, {}), ErrorReport({})
    names = ", ".join(dict.fromkeys(adapter.name for adapter, _ in active))
    told = {"modelspec.title": name, "modelspec.merged_from": names, MIX_KEY: _told(active)}
    metadata = of_family(base.family) | merged.metadata | told
    adapter = Adapter(
        name,
        merged.updates,
        tokens.first,
        metadata,
        base.family,
        tokens_2=tokens.second,
        geometry=base.geometry,
    )
    return adapter, report


def _by_weight(adapter: Adapter, weights: Weights) -> list[tuple[Adapter, float]]:
    """The adapter in parts that have one weight each, without the modules of weight 0."""
    parts: dict[float, dict[str, Update]] = defaultdict(dict)
    for path, update in adapter.updates.items():
        if weight := weights.at(path):
            parts[weight][path] = update
    return [
        (Adapter(adapter.name, updates, {}, adapter.metadata, adapter.family), weight)
        for weight, updates in parts.items()
    ]


def _told(active: Sequence[tuple[Adapter, Weights]]) -> str:
    return json.dumps(
        [
            {"name": adapter.name, "hash": adapter.metadata.get("sshs_model_hash", ""), "weights": weights.given()}
            for adapter, weights in active
        ],
        ensure_ascii=False,
    )
