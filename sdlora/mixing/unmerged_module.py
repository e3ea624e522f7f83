"""One module that can't be merged into, a quantised one say: what a mix adds is added to its outputs instead."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..adapters import LoRA
from ..adapters.algebra import Term, mixed_bias
from ..adapters.algebra.mixed import Concatenated, split, summed
from .module_kinds import device_of, is_convolution, is_mergeable, own_weight, weight_shape
from .room import Room


class UnmergedModule:
    """A linear layer or convolution that computes W·x + Σ wᵢ · ΔWᵢ·x, the second part by a forward hook.

    Low-rank updates stay factors, one product down and one up for all of them; other kinds are summed to one ΔW, in the
    weight's dtype or, for a quantised one, in fp32. The outputs are within rounding of what merging would give.
    """

    dtype = None  # no sum is rounded to the weight's, so that a cast changes nothing

    def __init__(self, module: Any) -> None:
        self.module = module
        self._change: Change | None = None
        self._hook: RemovableHandle | None = None

    @property
    def pristine(self) -> Tensor:
        """The base's own weight."""
        return own_weight(self.module)

    def put(self, terms: Sequence[Term], low_rank: Concatenated | None, room: Room) -> None:
        """Make the module's outputs the pristine ones and what these terms add; without any, its own again.

        Without gradients: that is for the caller to see to, once for all modules.
        """
        self._change = None  # a hook adds the change that stands here: one that an interruption left does nothing
        if self._hook:
            self._hook.remove()
            self._hook = None
        if not terms:
            return
        change = self._change = self._made_of(terms, low_rank, room)

        def hook(module: Any, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
            return output + change.of(arguments[0]).to(output.dtype) if self._change is change else output

        self._hook = self.module.register_forward_hook(hook)

    def _made_of(self, terms: Sequence[Term], low_rank: Concatenated | None, room: Room) -> "Change":
        shape, device = weight_shape(self.module), device_of(self.module)
        assert shape is not None
        factors, whole, bias = None, None, None
        weights, updates = split(terms)
        if any(update.changes_bias for _, update in terms):
            bias = mixed_bias(torch.zeros(shape[0], device=device), terms)
        if updates and getattr(self.module, "groups", 1) == 1:
            low_rank = low_rank or Concatenated.of(updates, device)
            up = low_rank.weighted_up(weights)
            factors = low_rank.down.reshape(-1, *shape[1:]), up.reshape(*up.shape, *(1 for _ in shape[2:]))
            terms = [term for term in terms if not isinstance(term[1], LoRA)]
        if terms:
            needed = any(update.needs_weight for _, update in terms)
            weight = self.pristine if needed else torch.zeros((), device=device).expand(shape)
            # no larger than the copy that merging would keep; of what quantised layers compute in nobody can tell
            dtype = self.module.weight.dtype if is_mergeable(self.module) else torch.float32
            whole = summed(weight, terms, low_rank, room.scratch).to(dtype, copy=True)
        return Change(self.module, factors, whole, bias)


class Change:
    """ΔW·x + Δb as factors (down, up), as a whole ΔW, or as both; computed in the dtype of x."""

    def __init__(
        self, module: Any, factors: tuple[Tensor, Tensor] | None, whole: Tensor | None, bias: Tensor | None
    ) -> None:
        self._module = module
        self._parts = (*(factors or (None, None)), whole, bias)
        self._cast: dict[tuple[torch.dtype, torch.device], tuple[Tensor | None, ...]] = {}

    def of(self, x: Tensor) -> Tensor:
        """What is added to the module's outputs for x (…, in) or (n, in, h, w)."""
        down, up, whole, bias = self._parts_for(x)
        added = []
        if down is not None and up is not None:
            inner = self._through(x, down)
            added.append(F.linear(inner, up) if up.ndim == 2 else F.conv2d(inner, up))
        if whole is not None:
            added.append(self._through(x, whole))
        if bias is not None:
            added.append(bias[:, None, None] if is_convolution(self._module) else bias)
        return sum(added[1:], added[0])

    def _through(self, x: Tensor, kernel: Tensor) -> Tensor:
        if kernel.ndim == 2:
            return F.linear(x, kernel)
        # PyTorch's own, whatever the module's is, since that knows of padding other than by zeros
        return nn.Conv2d._conv_forward(self._module, x, kernel, None)

    def _parts_for(self, x: Tensor) -> tuple[Tensor | None, ...]:
        """The parts in the dtype of x, where it is; cast once and not for each step."""
        key = x.dtype, x.device
        if key not in self._cast:
            cast = tuple(None if part is None else part.to(x.device, x.dtype) for part in self._parts)
            self._cast = {key: cast}
        return self._cast[key]
