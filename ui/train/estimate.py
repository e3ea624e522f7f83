"""What a training will take, before it begins: steps by its preset and images, time and memory as earlier runs took.

The base is not loaded for it, so it is told in an instant.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdlora.data.doctor import Report
from sdlora.data.doctor.base_facts import base_facts
from sdlora.data.split import FEWEST_TO_SPLIT
from sdlora.errors import Error
from sdlora.files import size_text
from sdlora.resources import shipped
from sdlora.training.config import TrainConfig, read_toml
from sdlora.training.config_values import seconds_of
from sdlora.training.run_folder import RunFolder

from ..runs.watching import step_seconds
from ..text import duration

HELD_OUT = 0.1  # of the images, where no folder holds some out


@dataclass(frozen=True)
class Estimate:
    """`seconds` and `memory` (bytes) as `like`, an earlier run on the same base, took; None where there is none."""

    images: int
    steps: int
    batch: int
    epochs: float
    resolution: int
    seconds: float | None
    memory: int | None
    like: str = ""
    searches: bool = False

    @property
    def sentences(self) -> list[str]:
        """For people."""
        batch = "1 image" if self.batch == 1 else f"{self.batch} images"
        said = [
            f"{self.steps} steps of {batch} at {self.resolution} pixels: "
            f"each of the {self.images} images about {self.epochs:.0f} times."
        ]
        if self.searches and self.seconds is not None:
            said.append(f"About {duration(self.seconds)} in all: short trials come first, and find the settings.")
        elif self.seconds is None:
            said.append("Nothing was trained on this base here yet: measure one step to know how long it takes.")
        else:
            said.append(f"About {duration(self.seconds)}, as the steps of {self.like} took.")
        if self.memory:
            said.append(f"About {size_text(self.memory)} of memory, as {self.like} took.")
        return said


def presets(group: str) -> list[str]:
    """The presets that come with sdlora for mini or for a family of bases."""
    return sorted(path.stem for path in (shipped("configs") / group).glob("*.toml"))


def estimate(config: TrainConfig, group: str, report: Report, runs: Iterator[RunFolder], on_gpu: bool) -> Estimate:
    """`group` is `mini` or the base's family, `report` the doctor's; `runs` are earlier ones, newest first.

    Raises `Error` for a base or a preset that is not there.
    """
    values = _preset(config.preset, group) | config.model_dump(exclude_unset=True)
    repeated = sum(frame.picture.repeats for frame in report.frames)
    if report.holdout is None and len(report.frames) >= FEWEST_TO_SPLIT:
        repeated -= max(1, round(HELD_OUT * repeated))
    batch = _number(values, "batch_size", 2 if on_gpu else 1) * config.gradient_accumulation
    per_epoch = max(1, repeated * (1 + len(config.more_resolutions))) / batch
    steps = _steps(values, per_epoch)
    side = _number(values, "resolution", 0) or base_facts(config.base).resolution
    like = _alike(runs, config.base)
    each = None
    if like:
        run, seconds, other = like
        each = seconds * (batch * side**2) / (other.batch_size * other.gradient_accumulation * other.resolution**2)
        memory = run.status().get("memory")
    return Estimate(
        repeated,
        steps,
        batch,
        steps / per_epoch,
        side,
        _whole(config, each and each * steps),
        int(memory) if like and memory and side <= like[2].resolution else None,
        like[0].name if like else "",
        searches=config.preset == "auto",
    )


def _preset(name: str, group: str) -> dict[str, Any]:
    path = shipped("configs") / group / f"{name}.toml"
    if not path.is_file():
        known = " or ".join(presets(group)) or "none"
        raise Error(f"There is no preset {name!r} for {group}: there is {known}.")
    return read_toml(path)


def _steps(values: dict[str, Any], per_epoch: float) -> int:
    """As `sdlora.training.defaults` chooses them."""
    if epochs := values.get("epochs"):
        return max(1, round(epochs * per_epoch))
    return _number(values, "steps", 0) or min(max(round(80 * per_epoch), 400), 3000)


def _whole(config: TrainConfig, seconds: float | None) -> float | None:
    """Seconds in all: a search takes its time budget, or twice the usual."""
    if config.preset != "auto":
        return seconds
    return seconds_of(config.time_budget) or (seconds and 2 * seconds)


def _number(values: dict[str, Any], key: str, usual: int) -> int:
    value = values.get(key, "auto")
    return usual if value == "auto" else int(value)


def _alike(runs: Iterator[RunFolder], base: str) -> tuple[RunFolder, float, Any] | None:
    """The newest run on the base whose steps were timed."""
    for run in runs:
        try:
            config = run.config()
        except Error:  # begun by another version
            continue
        seconds = step_seconds(run)
        if seconds and config.base in (base, str(Path(base).resolve())):
            return run, seconds, config
    return None
