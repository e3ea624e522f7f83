"""Weights in units of strength, so that 1.0 means the same for a faint and for a loud adapter."""

from collections.abc import Mapping

from torch import Tensor

from ..adapters import Adapter
from ..adapters.algebra import strength

UNIT = 0.03  # of the norm of the weights that it changes: what styles trained on mini have at weight 1 (.027 to .036)


def equalising_factor(adapter: Adapter, pristine: Mapping[str, Tensor]) -> float:
    """What brings √(Σ‖ΔW‖² / Σ‖W‖²) over the adapted modules to `UNIT`; 1 for an adapter that changes no weight.

    Rounded to four digits, so that it is the same on every device and can be told.
    """
    ratio = strength(adapter, pristine).total.ratio if adapter.updates else None
    return float(f"{UNIT / ratio:.4g}") if ratio else 1.0
