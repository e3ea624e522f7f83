"""One module that a mix is merged into: the sum stands in its own weight and bias."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..adapters.algebra import Term, mixed_bias
from ..adapters.algebra.mixed import Concatenated, Scratch, add, summed


class MergedModule:
    """A module whose values are pristine + Σ wᵢ · ΔWᵢ, made anew from the pristine ones each time.

    Those are kept beside the values, or `on_host` in pinned memory where the device has no room for them. That needs
    CUDA, on which this was not run by its author.
    """

    def __init__(self, module: Any, *, on_host: bool = False) -> None:
        self.module = module
        self.on_host = on_host
        self._kept: dict[str, Tensor] = {}  # the pristine weight, and bias, while something is added to it

    @property
    def dtype(self) -> torch.dtype:
        """What the sum is rounded to: when that changes, it has to be made anew."""
        return self.module.weight.dtype

    @property
    def pristine(self) -> Tensor:
        """The base's own weight."""
        own = self.module.weight.detach()
        return self._kept.get("weight", own).to(own.device, own.dtype)

    def put(self, terms: Sequence[Term], low_rank: Concatenated | None, scratch: Scratch) -> None:
        """Make the module's values the pristine ones and what these terms add; without any, its own again.

        Without gradients: that is for the caller to see to, once for all modules.
        """
        of_bias = [term for term in terms if term[1].changes_bias]
        self._put("weight", terms, lambda own, out: add(own, summed(own, terms, low_rank, scratch), out))
        self._put("bias", of_bias, lambda own, out: out.copy_(mixed_bias(own, of_bias)))

    def _put(self, name: str, terms: Sequence[Term], write: Callable[[Tensor, Tensor], Tensor]) -> None:
        if not terms and name not in self._kept:
            return
        value = getattr(self.module, name)
        kept = self._kept.get(name, value)
        if name not in self._kept or kept.dtype != value.dtype or not (self.on_host or kept.device == value.device):
            # the base may have been moved or cast since; then its own bits are what that makes of the pristine ones
            kept = self._kept[name] = self._copied(kept.detach().to(value.device, value.dtype))
        own = kept.to(value.device, non_blocking=True)
        if terms:
            write(own, value)
        else:
            value.copy_(own)
            del self._kept[name]

    def _copied(self, values: Tensor) -> Tensor:
        if not self.on_host:
            return values.clone()
        return torch.empty_like(values, device="cpu", pin_memory=True).copy_(values)
