"""A grid of pictures: its axes, and what has to be drawn for it."""

import itertools
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

Place = tuple[int, int, int]  # z, y, x: sheet, row, column


@dataclass(frozen=True)
class Cell:
    """What one picture of a grid is drawn with; None is the base's usual.

    `mix` are adapter files, sorted, with the weights that axes give them; None is the weight in the grid's own mix, and
    an adapter of weight 0 is not there. `varied` is the file that an axis put in.
    """

    prompt: str
    negative: str
    seed: int
    steps: int | None = None
    guidance: float | None = None
    sampler: str | None = None
    mix: tuple[tuple[str, float | None], ...] = ()
    varied: str | None = field(default=None, compare=False)

    def weighing(self, file: str, weight: float | None) -> "Cell":
        """The same with an adapter file at this weight."""
        mix = dict(self.mix) | {file: weight}
        return replace(self, mix=tuple((file, mix[file]) for file in sorted(mix) if mix[file] != 0))


class Value(NamedTuple):
    """One value of an axis: what stands beside its pictures, and what it makes of a cell."""

    label: str
    change: Callable[[Cell], Cell]


@dataclass(frozen=True)
class Axis:
    """One axis as it was written, with its values.

    `title` is what A1111's metadata calls it where it has such an axis. Axes of a lower `order` are applied first and
    change less often while the grid is drawn.
    """

    kind: str
    name: str
    written: str
    values: tuple[Value, ...]
    title: str
    order: int

    @property
    def labels(self) -> list[str]:
        return [value.label for value in self.values]

    def __str__(self) -> str:
        return f"{self.kind}{':' if self.name else ''}{self.name}={self.written}"


class Axes(NamedTuple):
    """Up to three axes: along a row, down a column, from sheet to sheet."""

    x: Axis | None = None
    y: Axis | None = None
    z: Axis | None = None

    @property
    def named(self) -> dict[str, Axis]:
        """Those that there are, by `x`, `y` and `z`."""
        return {name: axis for name, axis in zip("xyz", self, strict=True) if axis}

    def plan(self, cell: Cell) -> dict[Cell, list[Place]]:
        """What is to be drawn and the places where it belongs, in an order that changes adapters as rarely as can be.

        Places that come out alike, such as two adapters at weight 0, are drawn once.
        """
        axes = [(place, axis) for place, axis in zip((2, 1, 0), self, strict=True) if axis]
        axes.sort(key=lambda entry: entry[1].order)
        plan: dict[Cell, list[Place]] = defaultdict(list)
        for chosen in itertools.product(*(enumerate(axis.values) for _, axis in axes)):
            at, changed = [0, 0, 0], cell
            for (place, _), (index, value) in zip(axes, chosen, strict=True):
                at[place], changed = index, value.change(changed)
            plan[changed].append((at[0], at[1], at[2]))
        return dict(plan)
