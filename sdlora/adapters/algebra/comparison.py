"""How alike two adapters are, and how strong one is: from factors alone where they are low-rank."""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from ...errors import Error
from ..adapter import Adapter
from ..updates import Update
from .blocks import block_of
from .deltas import Factors, Weights, delta_of, factors_of, shape_of, weight_of
from .low_rank import product_dot

Of = TypeVar("Of")


@dataclass(frozen=True)
class Likeness:
    """Two adapters' changes in some modules: their norms √Σ‖ΔW‖² and the inner product Σ⟨ΔWₐ, ΔW_b⟩."""

    norm_a: float
    norm_b: float
    dot: float

    @property
    def cosine(self) -> float:
        """1: the same direction, 0: nothing in common, −1: opposite; 0 where one of them changes nothing."""
        product = self.norm_a * self.norm_b
        return max(-1.0, min(1.0, self.dot / product)) if product else 0.0

    @property
    def difference(self) -> float:
        """√Σ‖ΔWₐ − ΔW_b‖²."""
        return math.sqrt(max(0.0, self.norm_a**2 + self.norm_b**2 - 2 * self.dot))

    def as_json(self) -> dict[str, float]:
        numbers = {"norm_a": self.norm_a, "norm_b": self.norm_b}
        return numbers | {"cosine": self.cosine, "difference": self.difference}


@dataclass(frozen=True)
class Comparison:
    """Likeness in each block and in all, and the modules that only one of the two changes."""

    a: str
    b: str
    blocks: dict[str, Likeness]
    total: Likeness
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """The comparison as plain data, for `--json`."""
        blocks = {block: likeness.as_json() for block, likeness in self.blocks.items()}
        return {
            "a": self.a,
            "b": self.b,
            "total": self.total.as_json(),
            "blocks": blocks,
            "only_a": list(self.only_a),
            "only_b": list(self.only_b),
        }


@dataclass(frozen=True)
class Strength:
    """√Σ‖ΔW‖² over some modules, and √Σ‖W‖² of the base's weights there; None without a base."""

    delta: float
    weight: float | None

    @property
    def ratio(self) -> float | None:
        """√(Σ‖ΔW‖² / Σ‖W‖²); None without a base."""
        return self.delta / self.weight if self.weight else None


@dataclass(frozen=True)
class Strengths:
    """The strength of an adapter in each block and in all."""

    blocks: dict[str, Strength]
    total: Strength

    def as_json(self) -> dict[str, object]:
        """The strengths as plain data, for `--json`."""
        parts = {"total": self.total} | self.blocks
        numbers = {name: {"delta": s.delta, "weight": s.weight, "ratio": s.ratio} for name, s in parts.items()}
        return {"total": numbers.pop("total"), "blocks": numbers}


def compare(a: Adapter, b: Adapter, base: Weights | None = None) -> Comparison:
    """Cosine and norms of two adapters' changes, in each block and in all.

    Raises `Error` for adapters of different families or sizes, and for kinds that need the weights of a `base` when
    there is none.
    """
    if a.family and b.family and a.family != b.family:
        raise Error(f"{a.name!r} is for {a.family} and {b.name!r} for {b.family}: they have no modules in common")
    family = a.family or b.family
    modules: dict[str, Likeness] = {}
    for path in dict.fromkeys([*a.updates, *b.updates]):
        pair = [adapter.updates.get(path) for adapter in (a, b)]
        shape = shape_of(path, [update for update in pair if update], family, base)
        modules[path] = _likeness(path, pair, shape, base)
    return Comparison(
        a=a.name,
        b=b.name,
        blocks={block: _summed(found) for block, found in _by_block(modules).items()},
        total=_summed(modules.values()),
        only_a=tuple(path for path in a.updates if path not in b.updates),
        only_b=tuple(path for path in b.updates if path not in a.updates),
    )


def strength(adapter: Adapter, base: Weights | None = None) -> Strengths:
    """√(Σ‖ΔW‖² / Σ‖W‖²) over the adapted modules, in each block and in all; without a base only ‖ΔW‖.

    Raises `Error` for kinds that need the weights of a `base` when there is none, or that have another size than it.
    """
    modules: dict[str, tuple[float, float | None]] = {}
    for path, update in adapter.updates.items():
        shape = shape_of(path, [update], adapter.family, base)
        delta = math.sqrt(max(0.0, _dot(*[_change(path, update, shape, base)] * 2)))
        modules[path] = delta, None if base is None else _weight_norm(path, update, base)
    return Strengths(
        blocks={block: _strength(found) for block, found in _by_block(modules).items()},
        total=_strength(modules.values()),
    )


def _likeness(path: str, pair: list[Update | None], shape: tuple[int, ...] | None, base: Weights | None) -> Likeness:
    a, b = (update and _change(path, update, shape, base) for update in pair)
    return Likeness(
        math.sqrt(max(0.0, _dot(a, a))) if a else 0.0,
        math.sqrt(max(0.0, _dot(b, b))) if b else 0.0,
        _dot(a, b) if a and b else 0.0,
    )


def _change(path: str, update: Update, shape: tuple[int, ...] | None, base: Weights | None) -> Factors | tuple[Tensor]:
    """The update's two factors, or its whole ΔW alone."""
    return factors_of(update) or (delta_of(path, update, shape, base),)


def _dot(a: Factors | tuple[Tensor], b: Factors | tuple[Tensor]) -> float:
    """⟨ΔWₐ, ΔW_b⟩, without a whole ΔW where both are low-rank."""
    if len(a) == 2 and len(b) == 2:
        return product_dot(*a, *b)
    whole_a, whole_b = (part[0] @ part[1] if len(part) == 2 else part[0] for part in (a, b))
    return float((whole_a.flatten() * whole_b.flatten()).sum())


def _weight_norm(path: str, update: Update, base: Weights) -> float:
    weight = weight_of(path, base, path)
    if not update.fits(weight):
        raise Error(
            f"{path} was made for {update.made_for}, the base's weight is {tuple(weight.shape)}: give its own base"
        )
    return float(weight.double().norm())


def _by_block(modules: dict[str, Of]) -> dict[str, list[Of]]:
    blocks: dict[str, list[Of]] = defaultdict(list)
    for path, found in modules.items():
        blocks[block_of(path)].append(found)
    return dict(blocks)


def _summed(parts: Iterable[Likeness]) -> Likeness:
    parts = list(parts)
    return Likeness(
        math.hypot(*(part.norm_a for part in parts)),
        math.hypot(*(part.norm_b for part in parts)),
        math.fsum(part.dot for part in parts),
    )


def _strength(parts: Iterable[tuple[float, float | None]]) -> Strength:
    deltas, weights = zip(*parts, strict=True)
    return Strength(math.hypot(*deltas), None if None in weights else math.hypot(*weights))
