"""LoRAs that start at a part of the frozen weight, instead of at nothing.

What they start at is taken out of the frozen layer in turn, so that at first the layer is the frozen one, bit for bit.
What was learned is the difference of two products, scale · (up · down - up₀ · down₀), which is a LoRA of twice the rank
for the base as it was.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ...adapters.algebra.low_rank import Reduction, reduced_matrix
from ...adapters.updates import LoRA
from ...bases.dequantised import dequantised
from ...errors import Error
from .lora import LoRAConv2d, LoRALayer, LoRALinear
from .plan import Plan

Factors = tuple[Tensor, Tensor]  # down (rank, in·kh·kw) and up (out, rank)


def principal(weight: Tensor, rank: int, scale: float) -> Factors:
    """PiSSA (Meng et al., 2024, arXiv:2404.02948): the largest singular values, their roots on either side.

    `weight` is (out, in·kh·kw); scale · up · down is its best approximation of that rank.
    """
    update, _ = reduced_matrix(weight, Reduction(rank=rank), tuple(weight.shape))
    up, down = update.up * update.scale, update.down
    across, along = (norms.clamp(min=1e-30) for norms in (up.norm(dim=0), down.norm(dim=1)))
    level = (across * along / scale).sqrt()  # the root of a singular value, of the part that the scale leaves
    up, down = level * up / across, level[:, None] * down / along[:, None]
    missing = rank - len(down)  # of a weight that has fewer singular values which are not zero
    return torch.cat([down, down.new_zeros(missing, down.shape[1])]), torch.cat([up, up.new_zeros(len(up), missing)], 1)


def orthogonal(weight: Tensor, rank: int, scale: float) -> Factors:
    """OLoRA (Büyükakyüz, 2024, arXiv:2406.01775): W = QR, the first columns of Q (out, rank) and rows of R."""
    q = torch.linalg.qr(weight[:, :rank].double()).Q  # which do not depend on the later columns of W
    return (q.T @ weight.double()).float(), q.float()


STARTS: dict[str, Callable[[Tensor, int, float], Factors]] = {"pissa": principal, "orthogonal": orthogonal}


class StartedLoRA(LoRALayer):
    """A LoRA with the factors that it started at."""

    start_down: Tensor
    start_up: Tensor

    def __init__(self, base: Any, plan: Plan, path: str) -> None:
        super().__init__(base, plan, path)
        self.register_buffer("start_down", self.down.detach().clone())
        self.register_buffer("start_up", self.up.detach().clone())

    def _starts(self, plan: Plan, path: str) -> dict[str, Tensor]:
        rank = plan.rank_of(path)
        down, up = self._shapes(rank)
        frozen = dequantised(self.base.weight)
        weight = (self.base.weight if frozen is None else frozen).detach().cpu().float().flatten(1)
        if rank > min(weight.shape):
            raise Error(
                f"start = {plan.start} needs modules of at least the rank {rank}, {path} has {min(weight.shape)}: give "
                f"a smaller rank, or start = usual"
            )
        starts = STARTS[plan.start](weight, rank, self.scale)
        return {"down": starts[0].reshape(down), "up": starts[1].reshape(up)}

    def _change(self, x: Tensor, out: Tensor) -> Tensor:
        """As `update_of` writes it: the difference of two products as large as W would be lost in half precision."""
        first = self._product(x, self.down, self.up - self.start_up)
        return first + self._product(x, self.down - self.start_down, self.start_up)

    @staticmethod
    def update_of(weights: Mapping[str, Tensor], scale: float) -> LoRA:
        """As (up - up₀) · down + up₀ · (down - down₀): of parts that are small, which rounding leaves as they are."""
        down, up, start_down, start_up = (weights[name] for name in ("down", "up", "start_down", "start_up"))
        ups, downs = torch.cat([up - start_up, start_up], dim=1), torch.cat([down, down - start_down])
        return LoRA(*_balanced(downs, ups), scale * len(downs))


class StartedLinear(StartedLoRA, LoRALinear):
    """Of a linear layer."""


class StartedConv2d(StartedLoRA, LoRAConv2d):
    """Of a convolution."""


def _balanced(down: Tensor, up: Tensor) -> Factors:
    """The same product with each rank's row and column equally large, by powers of two, which round nothing: a faint
    column would fall below fp16's smallest numbers."""
    rows, columns = down.flatten(1).abs().amax(1), up.flatten(1).abs().amax(0)
    shift = torch.where((rows > 0) & (columns > 0), (rows / columns).log2() / 2, 0).round()
    by = 2.0**shift
    return down / by.view(-1, *(1,) * (down.ndim - 1)), up * by.view(1, -1, *(1,) * (up.ndim - 2))
