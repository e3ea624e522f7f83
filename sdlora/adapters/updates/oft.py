"""OFT and BOFT: blocks of outputs, rotated."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import Error
from .parts import Parts, as_part, fp32, number, part
from .update import Update


@dataclass(frozen=True, eq=False)
class BlockRotation(Update):
    """What OFT and BOFT share: rotations (I + Q)(I − Q)⁻¹ of blocks of outputs, Q = blocks − blocksᵀ.

    A `constraint` above 0 limits ‖Q‖ (over all blocks together) to constraint · outputs. `rescale` (out, 1, …)
    multiplies each output afterwards.
    """

    blocks: Tensor
    rescale: Tensor | None = None
    constraint: float = 0.0

    needs_weight = True
    alpha = None
    shape = None

    def __post_init__(self) -> None:
        shape = tuple(self.blocks.shape)
        if self.blocks.numel() == 0 or shape[-1] != shape[-2]:
            raise Error(f"its oft_blocks are {shape}, which are no square blocks")
        if self.rescale is not None and self.rescale.numel() != self.outputs:
            raise Error(f"its rescale is {tuple(self.rescale.shape)} for {self.outputs} outputs")
        if not math.isfinite(self.constraint):
            raise Error(f"its alpha (OFT's constraint) is {self.constraint}")

    @property
    def outputs(self) -> int:
        """How many outputs the module has: blocks × block size."""
        return self.blocks.shape[-3] * self.blocks.shape[-1]

    @property
    def made_for(self) -> str:
        return f"a weight with {self.outputs} outputs"

    def fits(self, weight: Tensor) -> bool:
        return weight.ndim in (2, 4) and weight.shape[0] == self.outputs

    def tensors(self) -> dict[str, Tensor]:
        parts = {"oft_blocks": self.blocks, "alpha": as_part(self.constraint)}
        return parts if self.rescale is None else parts | {"rescale": self.rescale}

    def _turns(self, weight: Tensor) -> Tensor:
        """R − I = 2Q(I − Q)⁻¹ of each block, which keeps the small numbers that R would round away."""
        blocks = fp32(self.blocks, weight)
        skew = blocks - blocks.mT
        if 0 < self.constraint * self.outputs < (norm := skew.norm()):
            skew = skew * (self.constraint * self.outputs / norm)
        return cayley_turns(skew)

    def _rescaled(self, change: Tensor, old: Tensor) -> Tensor:
        """What becomes of ΔW when all outputs of W + ΔW are multiplied by `rescale`."""
        if self.rescale is None:
            return change
        rescale = fp32(self.rescale, change).reshape(-1, 1)
        return rescale * change + (rescale - 1) * old


class OFT(BlockRotation):
    """W + ΔW = Rᵀ · W, R block-diagonal (Qiu et al., 2023, arXiv:2306.07280; Kohya's and LyCORIS' files).

    `blocks` is (n, b, b) for n · b outputs.
    """

    kind = "OFT"

    def _delta(self, weight: Tensor) -> Tensor:
        old = weight.to(torch.float32).flatten(1)
        turns = self._turns(weight)
        change = turns.mT @ old.reshape(*turns.shape[:2], -1)
        return self._rescaled(change.reshape(old.shape), old)


class BOFT(BlockRotation):
    """W + ΔW = the product of butterfly stages · W (Liu et al., 2024, arXiv:2311.06243; LyCORIS' files).

    `blocks` is (m, n, b, b) for n · b outputs. Stage i pairs up neighbouring groups of 2ⁱ · b/2 outputs, so that after
    all stages every output has met every other.
    """

    kind = "BOFT"

    def __post_init__(self) -> None:
        super().__post_init__()
        stages, count, size, _ = self.blocks.shape
        if size % 2 or count % 2 ** (stages - 1):
            raise Error(f"{stages} stages do not pair up {count} blocks of {size}: it is no BOFT update")

    def _delta(self, weight: Tensor) -> Tensor:
        old = moved = weight.to(torch.float32).flatten(1)
        for stage, turns in enumerate(self._turns(weight)):
            size = turns.shape[-1]
            # outputs (pair, which of the two, place) become (pair, place, which of the two), and blocks of those
            order = torch.arange(self.outputs, device=weight.device).reshape(-1, 2, 2**stage * size // 2).mT.flatten()
            change = turns @ moved[order].reshape(-1, size, moved.shape[1])
            moved = moved.index_add(0, order, change.reshape(moved.shape))
        return self._rescaled(moved - old, old)


def cayley_turns(skew: Tensor) -> Tensor:
    """R − I for R = (I + Q)(I − Q)⁻¹ with skew Q (…, b, b); R is a rotation, and I − Q never singular."""
    identity = torch.eye(skew.shape[-1], device=skew.device, dtype=skew.dtype)
    return torch.linalg.solve(identity - skew, 2 * skew)


def oft_from_parts(parts: Parts) -> BlockRotation:
    """OFT for blocks (n, b, b), BOFT for (m, n, b, b)."""
    blocks = part(parts, "oft_blocks")
    kind = {3: OFT, 4: BOFT}.get(blocks.ndim)
    if kind is None:
        raise Error(f"its oft_blocks are {tuple(blocks.shape)}: OFT has three dimensions, BOFT four")
    return kind(blocks, parts.get("rescale"), number(parts, "alpha", 0.0))
