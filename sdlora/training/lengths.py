"""How long a run is."""

import math
from collections.abc import Iterator
from typing import Any

from .choice import Choice
from .config import ResolvedConfig


def lengths(values: dict[str, Any], images: int, processes: int) -> Iterator[Choice]:
    """Steps, and the intervals that follow from them. `images` counts repeats."""
    batch = values["batch_size"] * values.get("gradient_accumulation", 1) * processes
    per_epoch = images / batch
    if (epochs := values.get("epochs")) and "steps" not in values:
        steps = max(1, math.ceil(epochs * per_epoch))
        yield Choice("steps", steps, f"{epochs:g} epochs × {images} images ÷ {batch} a step")
    elif "steps" in values:
        steps = values["steps"]
    else:
        steps = min(max(round(80 * per_epoch), 400), 3000)
        yield Choice("steps", steps, f"80 epochs of {images} images ÷ {batch} a step, between 400 and 3,000")
    if values["schedule"] == "piecewise_constant":
        yield Choice("warmup", 0, "the schedule's rules say everything")
    yield Choice("warmup", min(100, steps // 20), "a twentieth of the steps, 100 at the most")
    quarter = max(1, math.ceil(steps / 4))
    for key, what in (
        ("checkpoint_every", "checkpoints"),
        ("validate_every", "measurements"),
        ("sample_every", "samples"),
    ):
        yield Choice(key, quarter, f"four {what} in a run")


def arithmetic(config: ResolvedConfig, images: int, repeats: int, processes: int) -> str:
    """The run's length spelled out."""
    batch = config.batch_size * config.gradient_accumulation * processes
    parts = [f"batch {config.batch_size}"]
    parts += [f"accumulation {config.gradient_accumulation}"] if config.gradient_accumulation > 1 else []
    parts += [f"{processes} processes"] if processes > 1 else []
    each = repeats * (1 + len(config.more_resolutions))
    counted = f"{images} images" + (f" ({repeats} with repeats)" if repeats != images else "")
    return (
        f"{counted}, {' × '.join(parts)} = {batch} a step; {config.steps} steps × {batch} = "
        f"{config.steps * batch} examples = {config.steps * batch / each:.1f} epochs"
    )
