"""Drawing a grid: its cells as files of their own, then all of them on one labelled sheet."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

from PIL import Image

from ..pictures import save_picture
from ..sampling.denoise import OnStep
from .generated import Parameters
from .grids import labelled_grid, titled_sheets
from .infotext import Infotext, parse_infotext
from .mix import Given
from .mix_file import MixFile
from .mixer import Mixer
from .recipes import recipes
from .xyz import Axes, Cell, Place

SMALLEST = 192  # pixels that a cell has on the sheet: labels need room
LARGEST_SHEET = 100_000_000  # pixels; beyond, cells are shown smaller than they are
NO_MIX = MixFile({}, "blend", equalise=False)
ASKED: dict[str, Any] = {"size": None, "clip_skip": 1, "image": None, "strength": None, "second_pass": None}


@dataclass(frozen=True)
class DrawnCell:
    """One picture of a grid: its file, where it stands (column, row, sheet), and what made it."""

    path: Path
    place: Place
    parameters: Parameters


@dataclass(frozen=True)
class Grid:
    """A grid on disk: the sheet, and its cells in the order in which they are read."""

    path: Path
    axes: Axes
    cells: list[DrawnCell]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: files, labels by axis, parameters."""
        return {
            "path": self.path,
            "axes": {name: str(axis) for name, axis in self.axes.named.items()},
            "cells": [
                {
                    "path": cell.path,
                    **{name: self.axes.named[name].labels[cell.place["zyx".index(name)]] for name in self.axes.named},
                    "seed": cell.parameters.seed,
                    "parameters": str(cell.parameters),
                }
                for cell in self.cells
            ],
        }


def draw_grid(
    mixer: Mixer,
    plan: Mapping[Cell, list[Place]],
    axes: Axes,
    out: Path,
    *,
    mix: MixFile = NO_MIX,
    fixed: Mapping[str, Any] | None = None,
    on_step: OnStep | None = None,
) -> Grid:
    """Draw what `Axes.plan` lists; write the sheet to `out` and each cell, as soon as it is drawn, to a folder beside,
    which is made anew.

    `mix` has the weights of adapters that no axis varies, and its mode; `fixed` are further keywords of
    `Mixer.generate`. Raises `Error` before anything is drawn for what can't work in any cell.
    """
    fixed = fixed or {}
    _check(mixer, plan, fixed)
    shutil.rmtree(cells_folder(out), ignore_errors=True)
    cells: dict[Place, DrawnCell] = {}
    thumbnails: dict[Place, Image.Image] = {}
    for cell, places in plan.items():
        weights = {file: _weighed(mix.adapters.get(file, 1.0), weight) for file, weight in cell.mix}
        mixer.set(weights, mix.mode, equalise=mix.equalise)
        [picture] = mixer.generate(cell.prompt, **_settings(cell, fixed), on_step=on_step)
        small = _for_the_sheet(picture.image, sum(map(len, plan.values())))
        for place in places:
            file = picture.save(cells_folder(out) / cell_name(axes, place))
            cells[place], thumbnails[place] = DrawnCell(file, place, picture.parameters), small
    drawn = [cells[place] for place in sorted(cells)]
    text, details = _told(drawn[0].parameters, axes)
    save_picture(_sheet(axes, thumbnails), out, text, details)
    return Grid(out, axes, drawn)


def cells_folder(out: Path) -> Path:
    """Where the cells of a sheet lie: `fox-cells/` beside `fox.png`."""
    return out.with_name(f"{out.stem}-cells")


def cell_name(axes: Axes, place: Place) -> str:
    """`z1-y02-x03.png`: sorted as the grid is read."""
    counted = [
        f"{name}{at + 1:0{len(str(len(axis.values)))}}"
        for name, axis, at in zip("zyx", reversed(axes), place, strict=True)
        if axis
    ]
    return f"{'-'.join(counted)}.png"


def _check(mixer: Mixer, plan: Mapping[Cell, list[Place]], fixed: Mapping[str, Any]) -> None:
    """Raises `Error` for settings of a cell, or an adapter in it, that don't fit the base."""
    for cell in plan:
        recipes(mixer.base, "", count=1, **(ASKED | _settings(cell, fixed)))
    files = dict.fromkeys(file for cell in plan for file, _ in cell.mix)
    for file in files if len({frozenset(dict(cell.mix)) for cell in plan}) > 1 else ():
        mixer.set({file: 1.0})  # rather one by one than all at once, which memory may be too small for


def _settings(cell: Cell, fixed: Mapping[str, Any]) -> dict[str, Any]:
    varied = {key: getattr(cell, key) for key in ("negative", "seed", "steps", "guidance", "sampler")}
    return {**fixed, **varied}


def _weighed(given: Given, weight: float | None) -> Given:
    """An adapter's weights in the mix, at the weight that an axis gives it; blocks and times stay."""
    if weight is None or not isinstance(given, Mapping):
        return given if weight is None else weight
    return {**given, "unet": weight, "text": weight}


def _for_the_sheet(picture: Image.Image, pictures: int) -> Image.Image:
    """Large enough for labels, small enough for so many on one sheet."""
    width, height = picture.size
    shown = max(1, min(max(width, SMALLEST), isqrt(LARGEST_SHEET * width // (height * pictures))))
    return picture.resize((shown, max(1, round(shown * height / width))), Image.Resampling.LANCZOS)


def _sheet(axes: Axes, pictures: Mapping[Place, Image.Image]) -> Image.Image:
    columns, rows, titles = (axis.labels if axis else [""] for axis in axes)
    sheets = [
        labelled_grid(
            [[pictures[z, y, x] for x in range(len(columns))] for y in range(len(rows))],
            columns if axes.x else None,
            rows if axes.y else None,
        )
        for z in range(len(titles))
    ]
    side = next(iter(pictures.values())).width
    return titled_sheets(sheets, titles, max(16, side // 8)) if axes.z else sheets[0]


def _told(first: Parameters, axes: Axes) -> tuple[str, dict[str, Any]]:
    """The first cell's parameters with the axes as A1111 adds them, and the axes as they were written."""
    text = parse_infotext(str(first))
    script = {"Script": "X/Y/Z plot"}
    for name, axis in axes.named.items():
        script |= {f"{name.upper()} Type": axis.title, f"{name.upper()} Values": axis.written}
    details = {"grid": {name: str(axis) for name, axis in axes.named.items()}}
    return str(Infotext(text.prompt, text.negative, {**text.facts, **script})), {**first.details, **details}
