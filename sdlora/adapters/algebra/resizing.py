"""An adapter with smaller ranks."""

from dataclasses import replace

from ...errors import Error
from ..adapter import Adapter, LoadReport
from ..updates import Update
from . import describing
from .deltas import Weights, delta_of, factors_of, shape_of, whole_update
from .low_rank import Reduction, reduced
from .report import ErrorReport, ModuleError


def resize(
    adapter: Adapter,
    *,
    rank: int | None = None,
    keep: float | None = None,
    ratio: float | None = None,
    max_error: float | None = None,
    base: Weights | None = None,
) -> tuple[Adapter, ErrorReport]:
    """The nearest adapter of smaller rank, module by module, and its error.

    `rank` is the largest rank that a module may have, `keep` the share of its energy Σσ² to keep, `max_error` its
    largest relative error, `ratio` its largest over its smallest singular value; see `low_rank.Reduction`. Modules that
    are small enough stay as they are. Kinds that are not low-rank become LoRA; those that depend on the base's weights
    need `base`. Learned tokens, norm layers and modules whose bias changes are carried whole.
    """
    size = Reduction(rank, keep, ratio, max_error)
    if not size:
        raise Error("say how small the adapter should be: rank, keep, ratio or max_error (--rank, --keep, …)")
    updates: dict[str, Update] = {}
    errors: dict[str, ModuleError] = {}
    for path, update in adapter.updates.items():
        updates[path], errors[path] = _resized(path, update, adapter.family, size, base)
    metadata = describing.of_resized(adapter.metadata, updates)
    first, second = dict(adapter.tokens), dict(adapter.tokens_2)
    small = replace(adapter, updates=updates, metadata=metadata, tokens=first, tokens_2=second, report=LoadReport())
    return small, ErrorReport(errors)


def _resized(
    path: str, update: Update, family: str | None, size: Reduction, base: Weights | None
) -> tuple[Update, ModuleError]:
    shape = shape_of(path, [update], family, base)
    factors = factors_of(update)
    if factors and shape is not None:
        smaller, error = reduced(*factors, size, shape)
        return (smaller, error) if smaller.rank < factors[0].shape[1] else (update, replace(error, error=0.0))
    delta = delta_of(path, update, shape, base)
    if delta.ndim == 1 or update.changes_bias:
        return update, ModuleError(float(delta.norm()), 0.0, update.rank)
    return whole_update(delta, None, size)
