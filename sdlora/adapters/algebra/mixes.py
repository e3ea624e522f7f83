"""Adapters with their weights, checked, and what they add to each module in the order that never changes."""

import math
from collections import defaultdict
from collections.abc import Sequence

from ...errors import Error
from ..adapter import Adapter
from .mixed import Term

Mix = Sequence[tuple[Adapter, float]]


def weighted(adapters: Sequence[Adapter], weights: Sequence[float]) -> Mix:
    """Adapters with their weights; those of weight 0 are absent. Raises `Error` when none is left."""
    if len(adapters) != len(weights):
        raise Error(f"{len(adapters)} adapters and {len(weights)} weights were given: give each adapter its weight")
    for adapter, weight in zip(adapters, weights, strict=True):
        if not math.isfinite(weight):
            raise Error(f"the weight of {adapter.name!r} is {weight}: give a finite number")
    mix = [(adapter, float(weight)) for adapter, weight in zip(adapters, weights, strict=True) if weight]
    if not mix:
        raise Error("there is nothing to add: give at least one adapter with a weight other than 0")
    return mix


def common_family(adapters: Sequence[Adapter]) -> str | None:
    """The family that they all are of, as far as they tell. Raises `Error` when there are two."""
    of_family = {adapter.family: adapter.name for adapter in adapters if adapter.family}
    if len(of_family) > 1:
        made_for = " and ".join(f"{name!r} is for {family}" for family, name in of_family.items())
        raise Error(f"adapters of different families don't go together: {made_for}")
    return next(iter(of_family), None)


def terms_by_module(mix: Mix) -> dict[str, list[Term]]:
    """What is added to each module: in the order of the adapters' contents, so that names and places don't matter."""
    terms: dict[str, list[Term]] = defaultdict(list)
    for adapter, weight in sorted(mix, key=lambda pair: (pair[0].content_hash, pair[1])):
        for path, update in adapter.updates.items():
            terms[path].append((weight, update))
    return dict(terms)
