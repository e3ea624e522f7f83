"""LoCon with a Tucker core between down and up."""

from dataclasses import dataclass
from typing import Self

from torch import Tensor

from ...errors import Error
from .parts import Parts, as_part, check_factors, fp32, number, part, tucker_product
from .update import Update


@dataclass(frozen=True, eq=False)
class Tucker(Update):
    """ΔW = (alpha / rank) · Σ up[:, i] · mid[i, j] · down[j, :] (LyCORIS, Yeh et al., 2023, arXiv:2309.14859).

    down (rank, in, 1, 1), mid (rank, rank, kh, kw), up (out, rank, 1, 1): three convolutions, one after the other.
    """

    down: Tensor
    mid: Tensor
    up: Tensor
    alpha: float

    kind = "LoCon"

    def __post_init__(self) -> None:
        down, mid, up = tuple(self.down.shape), tuple(self.mid.shape), tuple(self.up.shape)
        pointwise = all(len(shape) in (2, 4) and shape[2:] in ((), (1, 1)) for shape in (down, up))
        if not pointwise or len(mid) != 4 or mid[:2] != (up[1], down[0]):
            raise Error(f"down {down}, mid {mid} and up {up} do not make a LoCon update")
        check_factors(self.kind, max(mid[:2]), self.alpha, self.down, self.mid, self.up)

    @classmethod
    def from_parts(cls, parts: Parts) -> Self:
        down, mid, up = (part(parts, f"lora_{name}.weight") for name in ("down", "mid", "up"))
        return cls(down, mid, up, number(parts, "alpha", down.shape[0] if down.ndim else 0))

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.up.shape[0], self.down.shape[1], *self.mid.shape[2:])

    def tensors(self) -> dict[str, Tensor]:
        return {
            "lora_down.weight": self.down,
            "lora_mid.weight": self.mid,
            "lora_up.weight": self.up,
            "alpha": as_part(self.alpha),
        }

    def _delta(self, weight: Tensor) -> Tensor:
        up, down = fp32(self.up, weight).flatten(1), fp32(self.down, weight).flatten(1)
        return tucker_product(fp32(self.mid, weight), self.scale * up.T, down)
