"""Several trainings, one after another: one that fails does not stop the others."""

import gc
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import Error
from .config import TrainConfig
from .progress import Reporter
from .run import train
from .run_folder import RunFolder
from .trainer import TrainedRun


@dataclass(frozen=True)
class Outcome:
    """What became of one config: a run, or why there is none."""

    config: Path
    run: TrainedRun | None = None
    problem: str | None = None

    @property
    def sentence(self) -> str:
        """For a person."""
        if self.run is None:
            return f"{self.config}: failed: {self.problem}"
        return f"{self.config}: {self.run.state} at step {self.run.steps}, {self.run.adapter_path}"


def train_several(configs: Sequence[Path], settings: dict[str, Any], *, quiet: bool = False) -> list[Outcome]:
    """Train each config file, with `settings` winning over all of them; what became of each, in their order.

    Files that can't be read are told at once, the others are trained all the same. Ctrl-C ends the run in progress as
    always, and those after it are not begun; a stop that was asked for in a run's folder ends that run alone.
    """
    reporter = Reporter(visible=not quiet)
    read = [(path, _read(path, settings)) for path in configs]
    outcomes: list[Outcome] = []
    for path, config in read:
        if isinstance(config, Error):
            reporter.warn(f"{path} is left out: {config}")
    stopped = False
    for number, (path, config) in enumerate(read, 1):
        if isinstance(config, Error):
            outcomes.append(Outcome(path, problem=str(config)))
        elif stopped:
            outcomes.append(Outcome(path, problem="not begun: the one before it was interrupted"))
        else:
            reporter.say(f"{number} of {len(read)}: {path}")
            outcomes.append(_trained(path, config, reporter, quiet))
            run = outcomes[-1].run
            stopped = run is not None and run.state == "stopped" and not RunFolder(run.folder).control().stop
    return outcomes


def _read(path: Path, settings: dict[str, Any]) -> TrainConfig | Error:
    try:
        return TrainConfig.load(path, **settings)
    except Error as problem:
        return problem


def _trained(path: Path, config: TrainConfig, reporter: Reporter, quiet: bool) -> Outcome:
    try:
        return Outcome(path, run=train(config, quiet=quiet))
    except Exception as problem:  # also a mistake of ours: a night's other trainings must not be lost to it
        if not isinstance(problem, Error):
            reporter.say(traceback.format_exc())
        reporter.warn(f"{path} failed: {problem}")
        return Outcome(path, problem=str(problem) or type(problem).__name__)
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
