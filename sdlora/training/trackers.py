"""Who is told of a run besides its folder: TensorBoard, Weights & Biases, trackio and what else accelerate knows.

A tracker is a guest: when it fails, the run goes on without it.
"""

import importlib.util
import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker
from PIL import Image

from ..errors import Error
from ..files import write_text
from .config import ResolvedConfig
from .progress import Reporter
from .run_folder import PLACES, RunFolder

PROJECT = "sdlora"
PRIVATE = {*PLACES, "workspace", "sample_prompts"}  # where things lie on this computer is nobody's business
SCALARS = {
    "loss": "train/loss",
    "grad_norm": "train/gradient_norm",
    "learning_rate": "train/learning_rate",
    "holdout_loss": "holdout/loss",
    "train_loss": "holdout/loss_on_training_images",
    "drift": "holdout/drift",
}


def refuse_missing(names: Sequence[str]) -> None:
    """Raises `Error` for a tracker that is not known, or whose package is not installed."""
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            known = ", ".join(sorted(LOGGER_TYPE_TO_CLASS))
            raise Error(f"There is no tracker {name!r}: accelerate knows {known}")
        own = LOGGER_TYPE_TO_CLASS[name].__module__ != "accelerate.tracking"
        if not own and importlib.util.find_spec(name) is None:
            extra = "'sdlora[track]'" if name in ("tensorboard", "wandb", "trackio") else name
            raise Error(f"The tracker {name} is not installed: pip install {extra}, or leave it out of trackers")


class Trackers:
    """The trackers of a run, started. A run that goes on is the same run to them."""

    def __init__(self, config: ResolvedConfig, run: RunFolder, step: int, reporter: Reporter) -> None:
        self._reporter = reporter
        self._alive: dict[str, GeneralTracker] = {}
        if not config.trackers:
            return
        identity, fresh = _identity(run)
        for name in config.trackers:
            if tracker := self._tried(name, lambda name=name: _started(name, run, identity, step)):  # type: ignore[misc]
                self._alive[name] = tracker
        if fresh:
            self._each(lambda tracker: tracker.store_init_configuration(_told(config)))

    def row(self, step: int, row: Mapping[str, Any]) -> None:
        """Tell of a row of metrics."""
        values = {SCALARS[key]: value for key, value in row.items() if key in SCALARS and value is not None}
        if self._alive:
            self._each(lambda tracker: tracker.log(values, step=step))

    def pictures(self, step: int, files: Iterable[Path]) -> None:
        """Tell of sample images, each by its prompt's number and its weight."""
        if self._alive:
            images = {f"samples/{file.stem.partition('-prompt-')[2]}": _pixels(file) for file in files}
            self._each(lambda tracker: _tell_pictures(tracker, images, step))

    def finish(self) -> None:
        """The run ends here, for now."""
        self._each(lambda tracker: tracker.finish())
        self._alive.clear()

    def _each(self, tell: Callable[[GeneralTracker], Any]) -> None:
        for name, tracker in list(self._alive.items()):
            self._tried(name, lambda tracker=tracker: tell(tracker))  # type: ignore[misc]

    def _tried(self, name: str, tell: Callable[[], Any]) -> Any:
        try:
            return tell()
        except Exception as problem:  # whatever a service or its library does must not end a training
            self._alive.pop(name, None)
            self._reporter.warn(f"the tracker {name} failed, so the run goes on without it: {problem}")
            return None


def _started(name: str, run: RunFolder, identity: str, step: int) -> GeneralTracker:
    # of steps that are done again after a kill, TensorBoard forgets the first time, W&B the second; trackio keeps both
    options: dict[str, dict[str, Any]] = {
        "tensorboard": {"purge_step": step + 1},
        "wandb": {"name": run.name, "id": identity, "resume": "allow", "dir": str(run.path)},
        "trackio": {"name": f"{run.name}-{identity}", "resume": "allow"},
    }
    kind = LOGGER_TYPE_TO_CLASS[name]
    folders = [str(run.path)] if kind.requires_logging_directory else []
    project = name if folders else PROJECT
    tracker: GeneralTracker = kind(project, *folders, **options.get(name, {}))
    tracker.start()
    return tracker


def _tell_pictures(tracker: GeneralTracker, images: Mapping[str, np.ndarray], step: int) -> None:
    if tracker.name == "tensorboard":
        tracker.log_images({name: pixels[None] for name, pixels in images.items()}, step=step, dataformats="NHWC")
    elif tracker.name == "trackio":  # accelerate tells it of no pictures
        import trackio

        tracker.log({name: trackio.Image(pixels) for name, pixels in images.items()}, step=step)
    elif hasattr(tracker, "log_images"):
        tracker.log_images({name: [pixels] for name, pixels in images.items()}, step=step)


def _pixels(file: Path) -> np.ndarray:
    """(height, width, 3) from 0 to 255."""
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def _told(config: ResolvedConfig) -> dict[str, Any]:
    """The settings as plain values; what is unset is left out."""
    settings = {key: value for key, value in config.model_dump().items() if key not in PRIVATE and value is not None}
    return {key: value if isinstance(value, bool | int | float) else str(value) for key, value in settings.items()}


def _identity(run: RunFolder) -> tuple[str, bool]:
    """By what trackers know the run, whatever its folder is called later, and whether it is new."""
    file = run.path / "trackers.json"
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["id"]), False
    except (OSError, ValueError, KeyError, TypeError):
        identity = uuid.uuid4().hex[:12]
        write_text(file, json.dumps({"id": identity}) + "\n")
        return identity, True
