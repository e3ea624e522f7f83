"""The curves of a run as drawings within the page; their colours are the page's, light or dark."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..by_heart import PARTS
from ..curve import smoothed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_POINTS = 400  # of a line: more can't be seen
SIZE = (5.0, 2.9)  # inches; as wide as half of the page
# What matplotlib is told -> the page's own colour.
INK, FAINT, GRID, ACCENT, WARM = "#010101", "#020202", "#030303", "#040404", "#050505"
COLOURS = {INK: "ink", FAINT: "faint", GRID: "line", ACCENT: "accent", WARM: "warm", "#060606": "third"}
PART_COLOURS = dict(zip(PARTS, (WARM, ACCENT, "#060606"), strict=True))
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "sdlora",
    "font.size": 9,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "grid.color": GRID,
    "legend.frameon": False,
    "legend.fontsize": 8,
}
Rows = Sequence[dict[str, Any]]


def curves(rows: Rows, adapter_step: int | None) -> dict[str, str]:
    """Title -> SVG, of those that there is something to draw of. `adapter_step` is marked where it is known."""
    drawn = {
        "Loss": _drawing(lambda axes: _loss(axes, rows), "loss", adapter_step, _has(rows, "loss")),
        "Held out against training images, by parts of the noise": _drawing(
            lambda axes: _bands(axes, rows), "change since the base, %", adapter_step, _has(rows, "holdout_bands") > 1
        ),
        "Learning rate": _drawing(
            lambda axes: _line(axes, rows, "learning_rate", ACCENT), "", None, _has(rows, "learning_rate")
        ),
        "Drift: how far it moves what the trigger does not call up": _drawing(
            lambda axes: _drift(axes, rows), "%", adapter_step, _has(rows, "drift") > 1
        ),
    }
    return {title: svg for title, svg in drawn.items() if svg}


def _has(rows: Rows, key: str) -> int:
    return sum(row.get(key) is not None for row in rows)


def _points(rows: Rows, key: str) -> tuple[list[int], list[float]]:
    found = [(row["step"], row[key]) for row in rows if row.get(key) is not None]
    return [step for step, _ in found], [value for _, value in found]


def _thinned(values: Sequence[Any]) -> Sequence[Any]:
    stride = -(-len(values) // MOST_POINTS) or 1
    return values[::stride]


def _line(axes: "Axes", rows: Rows, key: str, colour: str) -> None:
    steps, values = _points(rows, key)
    axes.plot(_thinned(steps), _thinned(values), color=colour)
    axes.set_ylim(bottom=0)


def _loss(axes: "Axes", rows: Rows) -> None:
    steps, values = _points(rows, "loss")
    axes.plot(_thinned(steps), _thinned(values), color=GRID, linewidth=0.8)
    axes.plot(_thinned(steps), _thinned(smoothed(values)), color=FAINT, label="each step, smoothed")
    for key, label, colour, mark in (
        ("holdout_loss", "held out", ACCENT, "o-"),
        ("train_loss", "the same on training images", WARM, "s--"),
    ):
        if _has(rows, key):
            axes.plot(*_points(rows, key), mark, color=colour, markersize=3.5, label=label)
    # single steps may be far off; what matters is to be seen
    matter = [*smoothed(values), *_points(rows, "holdout_loss")[1], *_points(rows, "train_loss")[1]]
    matter += sorted(values)[: round(0.95 * len(values))]
    axes.set_ylim(0, 1.1 * (max(matter, default=0) or 1))


def _bands(axes: "Axes", rows: Rows) -> None:
    measured = [row for row in rows if "holdout_bands" in row and "train_bands" in row]
    steps = [row["step"] for row in measured]
    for part, colour in PART_COLOURS.items():
        for key, mark in (("holdout_bands", "o-"), ("train_bands", "--")):
            values = [part.mean(row[key]) for row in measured]
            change = [100 * (value / values[0] - 1) for value in values]
            label = part.name if key == "holdout_bands" else None
            axes.plot(steps, change, mark, color=colour, markersize=3.5, label=label)
    axes.axhline(0, color=FAINT, linewidth=0.8)
    axes.plot([], [], "--", color=FAINT, label="on training images")


def _drift(axes: "Axes", rows: Rows) -> None:
    steps, values = _points(rows, "drift")
    axes.plot(steps, [100 * value for value in values], "o-", color=ACCENT, markersize=3.5)
    axes.set_ylim(bottom=0)


def _drawing(draw: Any, unit: str, mark: int | None, worth_it: bool | int) -> str:
    if not worth_it:
        return ""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.subplots()
        axes.grid(True, linewidth=0.6)
        axes.set_axisbelow(True)
        draw(axes)
        if mark:
            axes.axvline(mark, color=INK, linewidth=0.8, linestyle=":", label=f"the adapter: step {mark}")
        axes.set(xlabel="step", ylabel=unit)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if axes.get_legend_handles_labels()[1]:
            figure.legend(loc="outside lower center", ncols=2)
        content = io.StringIO()
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _in_page_colours(content.getvalue())


def _in_page_colours(svg: str) -> str:
    """Only the <svg>, with the page's fonts, as wide as its place."""
    svg = svg[svg.index("<svg") :]
    for colour, name in COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg.replace("<svg ", '<svg role="img" ', 1)
