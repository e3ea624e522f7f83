"""GLoRA: a low-rank change of what comes in, and one that is added."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ...errors import Error
from .lora import LoRA
from .parts import Parts, fp32, number, part
from .tucker import Tucker
from .update import Update


@dataclass(frozen=True, eq=False)
class GLoRA(Update):
    """ΔW = (alpha / rank) · (W · a1 · a2 + b1 · b2) (Chavan et al., 2023, arXiv:2306.07967; files: LyCORIS).

    a1 (in, rank) and a2 (rank, in) act on input channels. `added` is b1 · b2 with the alpha of the whole.
    """

    a1: Tensor
    a2: Tensor
    added: LoRA | Tucker

    kind = "GLoRA"
    needs_weight = True

    def __post_init__(self) -> None:
        a1, a2 = tuple(self.a1.shape), tuple(self.a2.shape)
        pointwise = all(len(shape) in (2, 4) and shape[2:] in ((), (1, 1)) for shape in (a1, a2))
        inputs, rank = self.added.shape[1], self.added.rank
        if not pointwise or a1[:2] != (inputs, rank) or a2[:2] != (rank, inputs):
            raise Error(f"a1 {a1} and a2 {a2} do not make a GLoRA update of {inputs} inputs and rank {rank}")

    @classmethod
    def from_parts(cls, parts: Parts) -> Self:
        a1, a2, b1, b2 = (part(parts, f"{name}.weight") for name in ("a1", "a2", "b1", "b2"))
        if min(tensor.ndim for tensor in (a1, a2, b1, b2)) < 2:
            raise Error("its parts are no matrices, so they make no GLoRA update")
        new = a1.shape[1] == a2.shape[0] == b1.shape[1] == b2.shape[0]
        old = a1.shape[0] == a2.shape[1] == b1.shape[0] == b2.shape[1]
        # LyCORIS' first versions called the factors the other way round; either reading may fit square weights, then
        # the rank is the smaller side
        if old and (not new or a1.shape[0] < a1.shape[1]):
            a1, a2, b1, b2 = a2, a1, b2, b1
        alpha, core = number(parts, "alpha", b2.shape[0]), parts.get("bm.weight")
        return cls(a1, a2, LoRA(b2, b1, alpha) if core is None else Tucker(b2, core, b1, alpha))

    @property
    def alpha(self) -> float:  # type: ignore[override]
        return self.added.alpha

    @property
    def rank(self) -> int:
        return self.added.rank

    @property
    def shape(self) -> tuple[int, ...]:
        return self.added.shape

    def tensors(self) -> dict[str, Tensor]:
        parts = {"a1.weight": self.a1, "a2.weight": self.a2}
        renamed = {"lora_up.weight": "b1.weight", "lora_down.weight": "b2.weight", "lora_mid.weight": "bm.weight"}
        return parts | {renamed.get(name, name): tensor for name, tensor in self.added.tensors().items()}

    def _delta(self, weight: Tensor) -> Tensor:
        a1, a2 = fp32(self.a1, weight).flatten(1), fp32(self.a2, weight).flatten(1)
        moved = torch.einsum("oi...,ir->or...", weight.to(torch.float32), self.added.scale * a1)
        return torch.einsum("or...,ri->oi...", moved, a2) + self.added.delta(weight)
