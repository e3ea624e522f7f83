"""Several adapters as one."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ...errors import Error
from ..adapter import Adapter
from ..updates import Update
from . import describing, sparse
from .deltas import Weights, delta_of, factors_of, low_rank_update, shape_of, whole_update
from .low_rank import Reduction
from .mixed import Term
from .mixes import Mix, common_family, weighted
from .report import ErrorReport, ModuleError

METHODS = ("concat", "ties", "dare")
Vectors = tuple[Tensor | None, Tensor | None]  # of a token, for the first and the second text encoder


def merge(
    adapters: Sequence[Adapter],
    weights: Sequence[float],
    *,
    rank: int | None = None,
    keep: float | None = None,
    method: str = "concat",
    base: Weights | None = None,
    density: float = 0.5,
    seed: int = 0,
) -> tuple[Adapter, ErrorReport]:
    """One adapter that adds Σ wᵢ · ΔWᵢ, in fp32, and its error.

    `concat`: modules in which every update is low-rank are concatenated along the rank, which is exact; others are
    summed as whole deltas and become `diff`. `rank`, or `keep` (a share of the energy Σσ²), makes the result smaller,
    by the singular values of the small core. `ties` and `dare` keep `density` of each delta's values, see `sparse`;
    their sums have no low rank, so give `rank` or `keep` where a small file is wanted.
    Learned tokens are carried. Raises `Error` for adapters that don't go together, and for kinds that need the weights
    of a `base` when there is none.
    """
    if method not in METHODS:
        raise Error(f"there is no merge method {method!r}: use {', '.join(METHODS)}")
    sparse.check_density(density)
    used = weighted(adapters, weights)
    family = common_family([adapter for adapter, _ in used])
    size = Reduction(rank=rank, keep=keep)
    updates: dict[str, Update] = {}
    errors: dict[str, ModuleError] = {}
    for path in dict.fromkeys(path for adapter, _ in used for path in adapter.updates):
        terms = {i: (w, adapter.updates[path]) for i, (adapter, w) in enumerate(used) if path in adapter.updates}
        shape = shape_of(path, [update for _, update in terms.values()], family, base)
        if method == "concat":
            updates[path], errors[path] = _concatenated(path, list(terms.values()), shape, size, base)
        else:
            updates[path], errors[path] = _sparse(path, terms, shape, size, base, method, density, seed)
    tokens, notes = _tokens(used)
    first, second = ({token: v for token, pair in tokens.items() if (v := pair[i]) is not None} for i in (0, 1))
    chosen = [adapter for adapter, _ in used]
    name, metadata = "+".join(adapter.name for adapter in chosen), describing.of_merged(chosen, updates)
    geometries = {adapter.geometry for adapter in chosen}
    geometry = geometries.pop() if len(geometries) == 1 else None
    merged = Adapter(name, updates, first, metadata, family, tokens_2=second, geometry=geometry)
    return merged, ErrorReport(errors, notes)


def _concatenated(
    path: str, terms: list[Term], shape: tuple[int, ...] | None, size: Reduction, base: Weights | None
) -> tuple[Update, ModuleError]:
    factors = [found for _, update in terms if (found := factors_of(update))]
    if shape is not None and len(factors) == len(terms):
        left = torch.cat([w * up for (w, _), (up, _) in zip(terms, factors, strict=True)], dim=1)
        return low_rank_update((left, torch.cat([down for _, down in factors])), shape, size)
    delta = sum((w * delta_of(path, update, shape, base) for w, update in terms), torch.zeros(()))
    return whole_update(delta, _bias(terms, delta), size)


def _sparse(
    path: str,
    terms: dict[int, Term],
    shape: tuple[int, ...] | None,
    size: Reduction,
    base: Weights | None,
    method: str,
    density: float,
    seed: int,
) -> tuple[Update, ModuleError]:
    deltas = [delta_of(path, update, shape, base) for _, update in terms.values()]
    weights = [w for w, _ in terms.values()]
    if method == "ties":
        delta = sparse.ties(deltas, weights, density)
    else:
        delta = sparse.dare(deltas, weights, density, seed, path)
    return whole_update(delta, _bias(list(terms.values()), delta), size)


def _bias(terms: list[Term], delta: Tensor) -> Tensor | None:
    """Σ wᵢ · Δbᵢ (out,); None where no update changes the bias."""
    bias = torch.zeros(delta.shape[0])
    changes = [w * change.double().cpu() for w, update in terms if (change := update.bias_delta(bias)) is not None]
    return torch.stack(changes).sum(0) if changes else None


def _tokens(used: Mix) -> tuple[dict[str, Vectors], tuple[str, ...]]:
    """All learned tokens, with their vectors for both text encoders; of two with one name the first stays, with a
    note."""
    tokens: dict[str, Vectors] = {}
    notes = []
    for adapter, _ in used:
        for token in dict.fromkeys([*adapter.tokens, *adapter.tokens_2]):
            own = adapter.tokens.get(token), adapter.tokens_2.get(token)
            if not all(map(_same, tokens.setdefault(token, own), own)):
                notes.append(f"the token {token} of {adapter.name!r} was left out: an adapter before it has its name")
    return tokens, tuple(notes)


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other or (one is not None and other is not None and torch.equal(one, other))
