"""LoKr: a Kronecker product, either factor whole or of low rank."""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ...errors import Error
from .parts import Parts, as_part, check_factors, fp32, number, part, tucker_product
from .update import Update, as_matrix


@dataclass(frozen=True, eq=False)
class Factor:
    """One side of the Kronecker product (o, i[, kh, kw]): whole, or a · b with a (o, rank) and b (rank, i·kh·kw).

    With a Tucker core (rank, rank, kh, kw), a is (rank, o) and b (rank, i). A whole one has nothing but `a`.
    """

    a: Tensor
    b: Tensor | None = None
    core: Tensor | None = None

    def __post_init__(self) -> None:
        shapes = [tuple(tensor.shape) for tensor in (self.a, self.b, self.core) if tensor is not None]
        a, b, core = (*shapes, (), ())[:3]
        if self.b is None:
            fitting = len(a) in (2, 4) and self.core is None
        elif self.core is None:
            fitting = len(a) == 2 and len(b) in (2, 4) and a[1] == b[0]
        else:
            fitting = len(a) == len(b) == 2 and len(core) == 4 and core[:2] == a[:1] + b[:1]
        if not fitting or any(0 in shape for shape in shapes):
            raise Error(f"{' and '.join(map(str, shapes))} do not make a side of a LoKr update")

    @classmethod
    def from_parts(cls, parts: Parts, n: int) -> Self:
        """`lokr_w1`, or `lokr_w1_a` and `lokr_w1_b`, with `lokr_t1`; the same of 2."""
        if f"lokr_w{n}" in parts:
            return cls(parts[f"lokr_w{n}"])
        return cls(part(parts, f"lokr_w{n}_a"), part(parts, f"lokr_w{n}_b"), parts.get(f"lokr_t{n}"))

    @property
    def rank(self) -> int | None:
        return None if self.b is None else self.b.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        if self.b is None:
            return tuple(self.a.shape)
        if self.core is None:
            return (self.a.shape[0], *self.b.shape[1:])
        return (self.a.shape[1], self.b.shape[1], *self.core.shape[2:])

    def matrix(self, weight: Tensor) -> Tensor:
        """(o, i·kh·kw) in fp32."""
        a = fp32(self.a, weight)
        if self.b is None:
            return a.flatten(1)
        b = fp32(self.b, weight)
        return (a @ b.flatten(1)) if self.core is None else tucker_product(fp32(self.core, weight), a, b).flatten(1)

    def tensors(self, n: int) -> dict[str, Tensor]:
        if self.b is None:
            return {f"lokr_w{n}": self.a}
        parts = {f"lokr_w{n}_a": self.a, f"lokr_w{n}_b": self.b}
        return parts if self.core is None else parts | {f"lokr_t{n}": self.core}


@dataclass(frozen=True, eq=False)
class LoKr(Update):
    """ΔW = (alpha / rank) · w₁ ⊗ w₂ (LyCORIS, Yeh et al., 2023, arXiv:2309.14859); scale 1 when both are whole.

    The kernel is the second factor's: w₁ (a, c), w₂ (b, d, kh, kw), ΔW (a·b, c·d, kh, kw).
    """

    first: Factor
    second: Factor
    alpha: float | None = None

    kind = "LoKr"

    def __post_init__(self) -> None:
        if math.prod(self.first.shape[2:]) != 1:
            raise Error(f"its first side is {self.first.shape}: in a LoKr update only the second has a kernel")
        ranks = [side.rank for side in (self.first, self.second) if side.rank is not None]
        if len(set(ranks)) > 1:
            raise Error(f"its sides have ranks {ranks[0]} and {ranks[1]}, so there is no telling what alpha scales")
        check_factors(self.kind, max(ranks, default=0), 0.0 if self.alpha is None else self.alpha)

    @classmethod
    def from_parts(cls, parts: Parts) -> Self:
        alpha = number(parts, "alpha", 0) if "alpha" in parts else None
        return cls(Factor.from_parts(parts, 1), Factor.from_parts(parts, 2), alpha)

    @property
    def rank(self) -> int | None:
        return self.second.rank or self.first.rank

    @property
    def scale(self) -> float:
        return 1.0 if self.rank is None or self.alpha is None else self.alpha / self.rank

    @property
    def shape(self) -> tuple[int, ...]:
        first, second = self.first.shape, self.second.shape
        return (first[0] * second[0], first[1] * second[1], *second[2:])

    def fits(self, weight: Tensor) -> bool:
        return super().fits(weight) or self.shape == as_matrix(tuple(weight.shape))

    def tensors(self) -> dict[str, Tensor]:
        parts = self.first.tensors(1) | self.second.tensors(2)
        return parts if self.alpha is None else parts | {"alpha": as_part(self.alpha)}

    def _delta(self, weight: Tensor) -> Tensor:
        # w₂'s kernel may stay flattened: it is innermost in both
        return torch.kron(self.scale * self.first.matrix(weight), self.second.matrix(weight))
