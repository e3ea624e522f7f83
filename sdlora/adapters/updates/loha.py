"""LoHa: the elementwise product of two low-rank matrices."""

from dataclasses import dataclass
from typing import Self

from torch import Tensor

from ...errors import Error
from .parts import Parts, as_part, check_factors, fp32, number, part, tucker_product
from .update import Update, as_matrix


@dataclass(frozen=True, eq=False)
class Half:
    """One of LoHa's two factors: a · b with a (out, rank) and b (rank, in·kh·kw).

    With a Tucker core (rank, rank, kh, kw), a is (rank, out) and b (rank, in).
    """

    a: Tensor
    b: Tensor
    core: Tensor | None = None

    def __post_init__(self) -> None:
        a, b = tuple(self.a.shape), tuple(self.b.shape)
        core = None if self.core is None else tuple(self.core.shape)
        fitting = a[1:2] == b[:1] if core is None else len(core) == 4 and core[:2] == a[:1] + b[:1]
        if len(a) != 2 or len(b) != 2 or not fitting:
            raise Error(f"a {a}, b {b}" + (f" and core {core}" if core else "") + " do not make a LoHa update")

    @property
    def rank(self) -> int:
        return self.b.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        if self.core is None:
            return self.a.shape[0], self.b.shape[1]
        return (self.a.shape[1], self.b.shape[1], *self.core.shape[2:])

    def product(self, weight: Tensor) -> Tensor:
        a, b = fp32(self.a, weight), fp32(self.b, weight)
        return a @ b if self.core is None else tucker_product(fp32(self.core, weight), a, b)


@dataclass(frozen=True, eq=False)
class LoHa(Update):
    """ΔW = (alpha / rank) · (a₁b₁ ⊙ a₂b₂) (FedPara: Hyeon-Woo et al., 2022, arXiv:2108.06098; files: LyCORIS)."""

    first: Half
    second: Half
    alpha: float

    kind = "LoHa"

    def __post_init__(self) -> None:
        if self.first.shape != self.second.shape:
            raise Error(f"its halves make {self.first.shape} and {self.second.shape}, which is no LoHa update")
        both = (self.first, self.second)
        check_factors(self.kind, max(half.rank for half in both), self.alpha, *(half.b for half in both))

    @classmethod
    def from_parts(cls, parts: Parts) -> Self:
        first, second = (
            Half(part(parts, f"hada_w{n}_a"), part(parts, f"hada_w{n}_b"), parts.get(f"hada_t{n}")) for n in (1, 2)
        )
        return cls(first, second, number(parts, "alpha", first.rank))

    @property
    def rank(self) -> int:
        return self.first.rank

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    @property
    def shape(self) -> tuple[int, ...]:
        return self.first.shape

    def fits(self, weight: Tensor) -> bool:
        return super().fits(weight) or self.shape == as_matrix(tuple(weight.shape))

    def tensors(self) -> dict[str, Tensor]:
        parts = {"alpha": as_part(self.alpha)}
        for n, half in ((1, self.first), (2, self.second)):
            parts |= {f"hada_w{n}_a": half.a, f"hada_w{n}_b": half.b}
            if half.core is not None:
                parts[f"hada_t{n}"] = half.core
        return parts

    def _delta(self, weight: Tensor) -> Tensor:
        return self.scale * self.first.product(weight) * self.second.product(weight)
