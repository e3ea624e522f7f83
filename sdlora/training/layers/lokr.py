"""LoKr: a Kronecker product of two small matrices."""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...adapters.updates import LoKr
from ...adapters.updates.lokr import Factor
from .layer import Layer
from .plan import Plan


class LoKrLayer(Layer):
    """ΔW = scale · w1 ⊗ w2 (LyCORIS, Yeh et al., 2023, arXiv:2309.14859).

    w1 is (a, c), w2 (b, d, kh, kw), for a·b outputs and c·d inputs; a and c are the largest divisors up to the plan's
    `lokr_factor` that are no larger than b and d. w2 is whole where the rank is at least half of its longer side, and
    then the scale is 1; else it is w2a (b, rank) · w2b (rank, d·kh·kw). w1 and w2a start at random (Kaiming-uniform),
    w2 and w2b at zero.
    """

    w1: nn.Parameter

    def _starts(self, plan: Plan, path: str) -> dict[str, Tensor]:
        rank, random = plan.rank_of(path), plan.random(path)
        outputs, inputs, *kernel = self.base.weight.shape
        (a, b), (c, d) = (_split(size, plan.lokr_factor) for size in (outputs, inputs))
        self._second = (b, d, *kernel)
        w1 = _random(random, a, c)
        if 2 * rank >= max(b, d):
            self.scale = 1.0
            return {"w1": w1, "w2": torch.zeros(self._second)}
        return {"w1": w1, "w2a": _random(random, b, rank), "w2b": torch.zeros(rank, d * math.prod(kernel))}

    def _change(self, x: Tensor, out: Tensor) -> Tensor:
        """(w1 ⊗ w2) x without the product: w2 on each of the c groups of inputs, then w1 on the groups."""
        w1, w2 = (self.factor * self.scale * self.w1).to(x.dtype), self._w2().to(x.dtype)
        if not isinstance(self.base, nn.Conv2d):
            groups = F.linear(x.unflatten(-1, (w1.shape[1], -1)), w2)
            return (w1 @ groups).flatten(-2)
        groups = x.unflatten(1, (w1.shape[1], -1))
        base = self.base
        narrow = F.conv2d(groups.flatten(0, 1), w2, None, base.stride, base.padding, base.dilation)
        return torch.einsum("ac,ncbhw->nabhw", w1, narrow.unflatten(0, groups.shape[:2])).flatten(1, 2)

    def _w2(self) -> Tensor:
        weights = self.weights
        return weights["w2"] if "w2" in weights else (weights["w2a"] @ weights["w2b"]).view(self._second)

    @staticmethod
    def update_of(weights: Mapping[str, Tensor], scale: float) -> LoKr:
        second = Factor(weights["w2"]) if "w2" in weights else Factor(weights["w2a"], weights["w2b"])
        # without a rank there is nothing that alpha scales; LyCORIS wants one all the same
        return LoKr(Factor(weights["w1"]), second, 1.0 if second.rank is None else scale * second.rank)


def _split(size: int, most: int) -> tuple[int, int]:
    """Two factors of a size, the first at most `most` and no larger than the second."""
    first = max(n for n in range(1, min(most, math.isqrt(size)) + 1) if size % n == 0)
    return first, size // first


def _random(generator: torch.Generator, rows: int, columns: int) -> Tensor:
    bound = 1 / math.sqrt(columns)
    return torch.empty(rows, columns).uniform_(-bound, bound, generator=generator)
