"""One module that a mix is merged into: the sum stands in its own weight and bias."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..adapters.algebra import Term, mixed_bias
from ..adapters.algebra.mixed import Concatenated, add, summed
from .room import Room


class MergedModule:
    """A module whose values are pristine + Σ wᵢ · ΔWᵢ, made anew from the pristine ones each time.

    Those are kept beside the values, or in pinned memory of the host where the device has no room for them. The latter
    needs CUDA, on which this was not run by its author.
    """

    def __init__(self, module: Any) -> None:
        self.module = module
        self._kept: dict[str, Kept] = {}  # the pristine weight, and bias, while something is added to it

    @property
    def dtype(self) -> torch.dtype:
        """What the sum is rounded to: when that changes, it has to be made anew."""
        return self.module.weight.dtype

    @property
    def pristine(self) -> Tensor:
        """The base's own weight."""
        own = self.module.weight.detach()
        return self._kept["weight"].values.to(own.device, own.dtype) if "weight" in self._kept else own

    def put(self, terms: Sequence[Term], low_rank: Concatenated | None, room: Room) -> None:
        """Make the module's values the pristine ones and what these terms add; without any, its own again.

        Without gradients: that is for the caller to see to, once for all modules.
        """
        of_bias = [term for term in terms if term[1].changes_bias]
        self._put("weight", terms, room, lambda own, out: add(own, summed(own, terms, low_rank, room.scratch), out))
        self._put("bias", of_bias, room, lambda own, out: out.copy_(mixed_bias(own, of_bias)))

    def _put(self, name: str, terms: Sequence[Term], room: Room, write: Callable[[Tensor, Tensor], Tensor]) -> None:
        kept = self._kept.get(name)
        if not terms and kept is None:
            return
        value = getattr(self.module, name)
        if kept is None:
            kept = self._kept[name] = Kept(value, value, room)
        elif not kept.goes_with(value):
            # the base was moved or cast since; then its own bits are what that makes of the pristine ones
            kept = self._kept[name] = Kept(kept.values, value, room)
        own = kept.values.to(value.device, non_blocking=True)
        if terms:
            write(own, value)
        else:
            value.copy_(own)
            del self._kept[name]


class Kept:
    """A copy of pristine values for weights of the dtype and on the device of `like`, where the room is."""

    def __init__(self, values: Tensor, like: Tensor, room: Room) -> None:
        self._goes_with = like.device, like.dtype
        if room.take(like.nbytes, like.device) == "host":
            self.values = torch.empty_like(like, device="cpu", pin_memory=True).copy_(values)
        else:
            self.values = torch.empty_like(like).copy_(values)

    def goes_with(self, value: Tensor) -> bool:
        return self._goes_with == (value.device, value.dtype)
