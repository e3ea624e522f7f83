"""A base's weights under a mix: pristine copies are kept, sums are made anew, removal is copying back.

Adding and subtracting would drift and depend on history; this way the same mix gives the same bits whatever was set
before. There is one `MergedWeights` for a base, however many mixers it has.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..adapters import Adapter
from ..adapters.algebra import Term, mixed_weight
from ..adapters.updates import LoRA
from ..bases import Base
from ..errors import Error

Signature = tuple[tuple[str, float], ...]
UNFINISHED: Signature = (("", 0.0),)  # equals no other, so that the module is made anew
_of_base: "WeakKeyDictionary[Base, MergedWeights]" = WeakKeyDictionary()


class MergedWeights:
    """The weights of one base's modules, and what has been added to each."""

    def __init__(self, base: Base) -> None:
        self._modules: dict[str, Any] = {
            path: module for path, module in base.modules().items() if getattr(module, "weight", None) is not None
        }
        self._pristine: dict[str, Tensor] = {}
        self._applied: dict[str, tuple[Signature, torch.dtype]] = {}

    @staticmethod
    def of(base: Base) -> "MergedWeights":
        """The one that belongs to `base`."""
        if base not in _of_base:
            _of_base[base] = MergedWeights(base)
        return _of_base[base]

    def set(self, mix: Sequence[tuple[Adapter, float]]) -> None:
        """Make every weight pristine + Σ wᵢ · ΔWᵢ. Touches only modules whose sum changes.

        Terms are summed in the order of the adapters' content hashes, so neither names nor the call's order matter.
        Raises `Error` before anything is changed when an adapter does not fit the base.
        """
        terms: dict[str, list[Term]] = defaultdict(list)
        signatures: dict[str, Signature] = defaultdict(tuple)
        for adapter, weight in sorted(mix, key=lambda pair: (pair[0].content_hash, pair[1])):
            if weight == 0:
                continue
            for path in self._matching(adapter):
                terms[path].append((weight, adapter.updates[path]))
                signatures[path] += ((adapter.content_hash, weight),)
        for path in self._applied.keys() | terms.keys():
            if self._applied.get(path) != (signatures[path], self._modules[path].weight.dtype):
                self._put(path, terms[path], signatures[path])

    @torch.no_grad()
    def _put(self, path: str, terms: list[Term], signature: Signature) -> None:
        weight = self._modules[path].weight
        if path not in self._pristine:
            self._pristine[path] = weight.detach().clone()
        # the base may have been moved or cast since; then its own bits are what that makes of the pristine ones
        pristine = self._pristine[path] = self._pristine[path].to(weight.device, weight.dtype)
        # forgotten before and noted after, so that an interruption in between leaves the module to be made anew
        self._applied[path] = (UNFINISHED, weight.dtype)
        weight.copy_(mixed_weight(pristine, terms) if terms else pristine)
        self._applied[path] = (signature, weight.dtype)
        if not terms:
            del self._applied[path], self._pristine[path]

    def _matching(self, adapter: Adapter) -> list[str]:
        """The adapter's modules, once all of them are known to fit: part of an adapter would be another adapter."""
        for path, update in adapter.updates.items():
            if path not in self._modules:
                raise Error(f"adapter {adapter.name!r} was made for another base: this one has no module {path}")
            weight = self._modules[path].weight
            if isinstance(update, LoRA) and not update.fits(weight):
                raise Error(
                    f"adapter {adapter.name!r} was made for a base of another size: its {path} is for a weight "
                    f"{update.shape}, this base's is {tuple(weight.shape)}"
                )
        return list(adapter.updates)
