"""Exact algebra on adapters and on the checkpoints that they are for; it says how exact it was.

`base` is a `Base`, taken as it stands, or what `load_base` takes: `mini`, a folder, a file, a hub id; from those only
the weights that are needed are read. Merging, resizing, comparing need a base for kinds whose change depends on its
weights (DoRA, IA³, GLoRA, OFT) and say so; without one, no model library is imported.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from .adapters import Adapter
from .adapters import algebra as of_adapters
from .adapters.algebra import METHODS, Comparison, ErrorReport, ModuleError, Strengths

if TYPE_CHECKING:
    from .bases import Base
    from .bases.whole import Applied

    AnyBase = Base | str | Path

__all__ = [
    "METHODS",
    "Comparison",
    "ErrorReport",
    "ModuleError",
    "Strengths",
    "apply",
    "compare",
    "draw_comparison",
    "extract",
    "merge",
    "resize",
    "strength",
]


def merge(
    adapters: Sequence[Adapter],
    weights: Sequence[float],
    *,
    rank: int | None = None,
    keep: float | None = None,
    method: str = "concat",
    base: "AnyBase | None" = None,
    density: float = 0.5,
    seed: int = 0,
) -> tuple[Adapter, ErrorReport]:
    """One adapter that adds Σ wᵢ · ΔWᵢ; see `sdlora.adapters.algebra.merge`."""
    return of_adapters.merge(
        adapters,
        weights,
        rank=rank,
        keep=keep,
        method=method,
        base=_weights(base),
        density=density,
        seed=seed,
    )


def resize(
    adapter: Adapter,
    *,
    rank: int | None = None,
    keep: float | None = None,
    ratio: float | None = None,
    max_error: float | None = None,
    base: "AnyBase | None" = None,
) -> tuple[Adapter, ErrorReport]:
    """The nearest adapter of smaller rank, module by module; see `sdlora.adapters.algebra.resize`."""
    return of_adapters.resize(adapter, rank=rank, keep=keep, ratio=ratio, max_error=max_error, base=_weights(base))


def compare(a: Adapter, b: Adapter, base: "AnyBase | None" = None) -> Comparison:
    """Cosine and norms of two adapters, in each block and in all; see `sdlora.adapters.algebra.compare`."""
    return of_adapters.compare(a, b, _weights(base))


def strength(adapter: Adapter, base: "AnyBase | None" = None) -> Strengths:
    """√(Σ‖ΔW‖² / Σ‖W‖²), in each block and in all; see `sdlora.adapters.algebra.strength`."""
    return of_adapters.strength(adapter, _weights(base))


def extract(
    base: "AnyBase",
    tuned: "AnyBase",
    *,
    rank: int | None = None,
    keep: float | None = None,
    full: bool = False,
) -> tuple[Adapter, ErrorReport]:
    """The adapter that turns one checkpoint into another; see `sdlora.bases.whole.extract`."""
    from .bases import whole

    return whole.extract(base, tuned, rank=rank, keep=keep, full=full)


def apply(
    base: "AnyBase",
    adapters: Sequence[Adapter],
    weights: Sequence[float],
    out: str | Path,
    *,
    force: bool = False,
) -> "Applied":
    """Write a full checkpoint with adapters in it; see `sdlora.bases.whole.apply`."""
    from .bases import whole

    return whole.apply(base, adapters, weights, out, force=force)


def draw_comparison(comparison: Comparison, path: str | Path) -> Path:
    """A picture of a comparison; see `sdlora.comparison_picture`."""
    from .comparison_picture import draw

    return draw(comparison, Path(path))


def _weights(base: "AnyBase | None") -> Mapping[str, Tensor] | None:
    if base is None:
        return None
    from .bases.whole import weights_of

    return weights_of(base)
