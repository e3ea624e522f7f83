"""The loss curve of a run, as a picture."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..files import write_atomically

SMOOTHING = 0.95


def smoothed(values: Iterable[float], factor: float = SMOOTHING) -> list[float]:
    """Exponential moving average without the start's bias (divided by 1 − factorⁿ, as Adam does)."""
    average, out = 0.0, []
    for n, value in enumerate(values, 1):
        average = factor * average + (1 - factor) * value
        out.append(average / (1 - factor**n))
    return out


def write_curve(rows: Iterable[dict[str, Any]], path: Path) -> None:
    """Draw the training loss, smoothed, and the held-out loss where it was measured, from a run's metrics."""
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    from matplotlib.figure import Figure

    rows = list(rows)
    training = [(row["step"], row["loss"]) for row in rows if "loss" in row]
    seen = [(row["step"], row["train_loss"]) for row in rows if "train_loss" in row]
    heldout = [(row["step"], row["holdout_loss"]) for row in rows if "holdout_loss" in row]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    if training:
        steps, losses = zip(*training, strict=True)
        axes.plot(steps, losses, color="0.85", linewidth=0.8, label="loss of each step")
        axes.plot(steps, smoothed(losses), color="tab:blue", label="loss, smoothed")
    if heldout:
        axes.plot(*zip(*heldout, strict=True), "o-", color="tab:orange", label="held-out loss")
    if seen:
        axes.plot(*zip(*seen, strict=True), "s--", color="tab:green", label="the same on training images")
    axes.set(xlabel="step", ylabel="loss")
    if training or heldout:
        axes.legend(frameon=False)
    write_atomically(path, lambda target: figure.savefig(target, format="png", dpi=110))
