"""One alpha for all modules of a file.

diffusers takes one alpha for that of many modules, and ranks as they are: a file whose ranks differ, and alphas with
them, is drawn wrongly there (`benchmarks/results/per_module_alphas.md`).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from ...adapters.updates import DoRA, LoRA, Update


def of_one_alpha(updates: Mapping[str, Update]) -> dict[str, Update]:
    """The same changes: where alphas of low-rank updates differ, `up` takes over what makes them the most usual one."""
    alphas = Counter(low.alpha for update in updates.values() if (low := _low_rank(update)))
    if len(alphas) < 2:
        return dict(updates)
    alpha = alphas.most_common(1)[0][0]
    return {path: _evened(update, alpha) for path, update in updates.items()}


def _low_rank(update: Update) -> LoRA | None:
    """Its part of low rank, if it has one."""
    part = update.direction if isinstance(update, DoRA) else update
    return part if isinstance(part, LoRA) else None


def _evened(update: Update, alpha: float) -> Update:
    if (low := _low_rank(update)) is None:
        return update
    return replace(update, direction=_with(low, alpha)) if isinstance(update, DoRA) else _with(low, alpha)


def _with(update: LoRA, alpha: float) -> LoRA:
    return update if update.alpha == alpha else replace(update, up=update.up * (update.alpha / alpha), alpha=alpha)
