"""A base's weights under a mix: pristine copies are kept, sums are made anew, removal is copying back.

Adding and subtracting would drift and depend on history; this way the same mix gives the same bits whatever was set
before. There is one `MergedWeights` for a base, however many mixers it has.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..adapters import Adapter
from ..adapters.algebra import Term, mixed_bias, mixed_weight
from ..adapters.updates import Update
from ..bases import Base
from ..errors import Error
from .mix import Weights

Signature = tuple[tuple[str, float], ...]
UNFINISHED: Signature = (("", 0.0),)  # equals no other, so that the module is made anew
_of_base: "WeakKeyDictionary[Base, MergedWeights]" = WeakKeyDictionary()


class MergedWeights:
    """The weights and biases of one base's modules, and what has been added to each."""

    def __init__(self, base: Base) -> None:
        self._modules: dict[str, Any] = {
            path: module for path, module in base.modules().items() if getattr(module, "weight", None) is not None
        }
        self._pristine: dict[str, dict[str, Tensor]] = {}  # of each module that is mixed: its weight, its bias
        self._applied: dict[str, tuple[Signature, torch.dtype]] = {}

    @staticmethod
    def of(base: Base) -> "MergedWeights":
        """The one that belongs to `base`."""
        if base not in _of_base:
            _of_base[base] = MergedWeights(base)
        return _of_base[base]

    @property
    def paths(self) -> Collection[str]:
        """The module paths of everything that can be mixed into."""
        return self._modules.keys()

    @property
    def pristine(self) -> Mapping[str, Tensor]:
        """The base's own weight of each module, whatever is mixed in."""
        kept = {path: parts["weight"] for path, parts in self._pristine.items() if "weight" in parts}
        own = {path: module.weight.detach() for path, module in self._modules.items()}
        return own | {path: weight.to(own[path].device, own[path].dtype) for path, weight in kept.items()}

    def set(self, mix: Sequence[tuple[Adapter, Weights]]) -> None:
        """Make every weight pristine + Σ wᵢ · ΔWᵢ, and biases alike. Touches only modules whose sum changes.

        Terms are summed in the order of the adapters' content hashes, so neither names nor the call's order matter.
        Raises `Error` before anything is changed when an adapter does not fit the base.
        """
        found: dict[str, list[tuple[str, float, Update]]] = defaultdict(list)
        for adapter, weights in mix:
            for path in self._matching(adapter) if weights.active else ():
                if weight := weights.at(path):
                    found[path].append((adapter.content_hash, weight, adapter.updates[path]))
        for path in self._applied.keys() | found.keys():
            parts = sorted(found[path], key=lambda part: part[:2])
            signature = tuple((digest, weight) for digest, weight, _ in parts)
            if self._applied.get(path) != (signature, self._modules[path].weight.dtype):
                self._put(path, [(weight, update) for _, weight, update in parts], signature)

    @torch.no_grad()
    def _put(self, path: str, terms: list[Term], signature: Signature) -> None:
        module, kept = self._modules[path], self._pristine.setdefault(path, {})
        # forgotten before and noted after, so that an interruption in between leaves the module to be made anew
        self._applied[path] = (UNFINISHED, module.weight.dtype)
        of_bias = [term for term in terms if term[1].changes_bias]
        for name, own, mixed in (("weight", terms, mixed_weight), ("bias", of_bias, mixed_bias)):
            if not own and name not in kept:
                continue
            value = getattr(module, name)
            if name not in kept:
                kept[name] = value.detach().clone()
            # the base may have been moved or cast since; then its own bits are what that makes of the pristine ones
            kept[name] = kept[name].to(value.device, value.dtype)
            value.copy_(mixed(kept[name], own) if own else kept[name])
            if not own:
                del kept[name]
        self._applied[path] = (signature, module.weight.dtype)
        if not terms:
            del self._applied[path], self._pristine[path]

    def _matching(self, adapter: Adapter) -> list[str]:
        """The adapter's modules, once all of them are known to fit: part of an adapter would be another adapter."""
        for path, update in adapter.updates.items():
            if path not in self._modules:
                raise Error(f"adapter {adapter.name!r} was made for another base: this one has no module {path}")
            weight = self._modules[path].weight
            if not update.fits(weight):
                raise Error(
                    f"adapter {adapter.name!r} was made for a base of another size: its {path} is for "
                    f"{update.made_for}, this base's is {tuple(weight.shape)}"
                )
            if update.changes_bias and getattr(self._modules[path], "bias", None) is None:
                raise Error(f"adapter {adapter.name!r} changes the bias of {path}, which has none in this base")
        return list(adapter.updates)
