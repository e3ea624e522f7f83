"""A base's weights under a mix: sums are made anew from pristine values, removal is putting those back.

Adding and subtracting would drift and depend on history; this way the same mix gives the same bits whatever was set
before. There is one `MixedWeights` for a base, however many mixers it has.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..adapters import Adapter
from ..adapters.algebra import Term
from ..adapters.algebra.mixed import Concatenated, split
from ..adapters.updates import Bottleneck, LoRA, Update
from ..bases import Base
from .fit import check_fit
from .following import Following
from .mix import Weights
from .module_kinds import device_of, weight_shape
from .placing import Place, Pristine, place_for
from .room import Room

Signature = tuple[tuple[str, float], ...]
UNFINISHED: Signature = (("", 0.0),)  # equals no other, so that the module is made anew
_of_base: "WeakKeyDictionary[Base, MixedWeights]" = WeakKeyDictionary()


class MixedWeights:
    """The weights and biases of one base's modules, and what has been added to each.

    Merged into a module's own values where that can be; by a hook where not: see `placing`.
    """

    def __init__(self, base: Base, room: Callable[[], Room] = Room) -> None:
        self._room = room
        self._modules = {path: module for path, module in base.modules().items() if weight_shape(module)}
        self._places: dict[str, Place] = {}  # of each module that was ever mixed
        self._following: dict[str, Following] = {}
        self._applied: dict[str, tuple[Signature, torch.dtype | None]] = {}
        self._low_rank: dict[str, tuple[list[LoRA], Concatenated]] = {}
        self._fitting: set[str] = set()  # content hashes of adapters that are known to fit
        self._last: object = None  # what was set last

    @staticmethod
    def of(base: Base) -> "MixedWeights":
        """The one that belongs to `base`."""
        if base not in _of_base:
            _of_base[base] = MixedWeights(base)
        return _of_base[base]

    @property
    def paths(self) -> Collection[str]:
        """The module paths of everything that can be mixed into."""
        return self._modules.keys()

    @property
    def pristine(self) -> Mapping[str, Tensor]:
        """The base's own weight of each module, whatever is mixed in."""
        return Pristine(self._modules, self._places)

    @torch.no_grad()
    def set(self, mix: Sequence[tuple[Adapter, Weights]]) -> None:
        """Make every weight pristine + Σ wᵢ · ΔWᵢ, and biases alike. Touches only modules whose sum changes.

        Terms are summed in the order of the adapters' content hashes, so neither names nor the call's order matter.
        Raises `Error` before anything is changed when an adapter does not fit the base.
        """
        wanted = [(adapter.content_hash, replace(weights, blocks=dict(weights.blocks))) for adapter, weights in mix]
        if wanted == self._last and self._stands():
            return
        found = self._found(mix)
        self._last, room = None, self._room()
        for path in dict.fromkeys((*self._applied, *found)):
            parts = sorted(found.get(path, ()), key=lambda part: part[:2])
            signature = tuple((digest, weight) for digest, weight, _ in parts)
            if path not in self._places:
                self._places[path] = place_for(self._modules[path], room)
            if self._applied.get(path) != (signature, self._places[path].dtype):
                self._put(path, [(weight, update) for _, weight, update in parts], signature, room)
        self._last = wanted

    def _stands(self) -> bool:
        """Whether what was applied is still of the dtypes that it was rounded to."""
        return all(self._places[path].dtype == dtype for path, (_, dtype) in self._applied.items())

    def _found(self, mix: Sequence[tuple[Adapter, Weights]]) -> dict[str, list[tuple[str, float, Update]]]:
        """What is added to each module: the adapter's content hash, the weight, the update."""
        found: dict[str, list[tuple[str, float, Update]]] = defaultdict(list)
        for adapter, weights in mix:
            if weights.active:
                if adapter.content_hash not in self._fitting:
                    check_fit(adapter, self._modules)
                    self._fitting.add(adapter.content_hash)
                for path, update in adapter.updates.items():
                    if weight := weights.at(path):
                        found[path].append((adapter.content_hash, weight, update))
        return found

    def _put(self, path: str, terms: list[Term], signature: Signature, room: Room) -> None:
        place = self._places[path]
        # forgotten before and noted after, so that an interruption in between leaves the module to be made anew
        self._applied[path] = (UNFINISHED, place.dtype)
        merged = [term for term in terms if term[1].mergeable]
        place.put(merged, self._concatenated(path, merged, room), room)
        bottlenecks = [(weight, update) for weight, update in terms if isinstance(update, Bottleneck)]
        if bottlenecks or path in self._following:
            self._following.setdefault(path, Following(self._modules[path])).put(bottlenecks)
        self._applied[path] = (signature, place.dtype)
        if not terms:
            del self._applied[path]

    def _concatenated(self, path: str, terms: Sequence[Term], room: Room) -> Concatenated | None:
        """The low-rank updates side by side, kept where there is room while no others come and only weights change."""
        _, updates = split(terms)
        device = device_of(self._modules[path])
        before, kept = self._low_rank.pop(path, ([], None))
        if not updates:
            return None
        if kept is None or before != updates or kept.up.device != device:
            kept = Concatenated.of(updates, device)
            if room.take(kept.up.nbytes + kept.down.nbytes, device) != "beside":
                return kept
        self._low_rank[path] = updates, kept
        return kept
