"""Where a module's part of a mix goes: into its weight where that can be, else onto its outputs."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from ..errors import Error
from .merged_module import MergedModule
from .module_kinds import is_mergeable, is_multiplying, own_weight, tells_weight
from .room import Room
from .unmerged_module import UnmergedModule

Place = MergedModule | UnmergedModule


def place_for(module: Any, room: Room) -> Place:
    """Merged, unless the module's weight can't be written to (a quantised one) or no memory is left for a copy of it.

    Only what multiplies by its weight can go unmerged; the weights of norms are small enough for any memory.
    """
    if not is_mergeable(module):
        return UnmergedModule(module)
    short = room.where(module.weight.nbytes, module.weight.device) == "nowhere"
    return UnmergedModule(module) if short and is_multiplying(module) else MergedModule(module)


class Pristine(Mapping[str, Tensor]):
    """The base's own weight of each module, whatever is mixed in. Raises `Error` for one that can't be told."""

    def __init__(self, modules: Mapping[str, Any], places: Mapping[str, Place]) -> None:
        self._modules = modules
        self._places = places

    def __getitem__(self, path: str) -> Tensor:
        module = self._modules[path]
        if not tells_weight(module):
            raise Error(f"{path} is a {type(module).__name__} that does not tell its weight: use the base unquantised")
        return self._places[path].pristine if path in self._places else own_weight(module)

    def __contains__(self, path: object) -> bool:  # without making a quantised one's weight
        return path in self._modules

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)
