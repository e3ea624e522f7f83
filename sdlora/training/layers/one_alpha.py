"""One alpha for all modules of a file.

diffusers takes one alpha for that of many modules, and ranks as they are: a file whose ranks differ, and alphas with
them, is drawn wrongly there (`benchmarks/results/per_module_alphas.md`).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from ...adapters.updates import LoRA, Update


def of_one_alpha(updates: Mapping[str, Update]) -> dict[str, Update]:
    """The same changes: where alphas of low-rank updates differ, `up` takes over what makes them the most usual one."""
    alphas = Counter(update.alpha for update in updates.values() if isinstance(update, LoRA))
    if len(alphas) < 2:
        return dict(updates)
    alpha = alphas.most_common(1)[0][0]
    return {path: _with(update, alpha) if isinstance(update, LoRA) else update for path, update in updates.items()}


def _with(update: LoRA, alpha: float) -> LoRA:
    return update if update.alpha == alpha else replace(update, up=update.up * (update.alpha / alpha), alpha=alpha)
