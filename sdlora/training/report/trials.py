"""What `preset = "auto"` tried before it chose, for people."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..autopilot.record import Record
from ..run_folder import RunFolder
from .told import duration


@dataclass(frozen=True)
class Tried:
    """One trial; `change` is of the base's held-out loss, None where it failed."""

    question: str
    settings: str
    steps: int
    change: float | None
    time: str
    problem: str
    chosen: bool


@dataclass(frozen=True)
class Search:
    """All trials, `budget` for the whole run, and what was `spent` when the choice was made."""

    trials: Sequence[Tried]
    budget: str
    spent: str


def search(run: RunFolder) -> Search | None:
    """Of a run with `preset = "auto"`; None for any other."""
    record = Record.read(run.path)
    if record is None:
        return None
    return Search(list(_tried(record)), duration(record.budget), duration(record.spent))


def _tried(record: Record) -> Sequence[Tried]:
    found = []
    for trial in record.trials:
        step, loss = min(trial.losses, key=lambda pair: pair[1]) if trial.losses else (0, None)
        own = {key: value for key, value in trial.changes.items() if record.start[key] != value}
        settings = "; ".join(f"{key} = {_shown(value)}" for key, value in own.items()) or "as it begins"
        change = None if loss is None else loss / record.base_loss - 1
        chosen = record.chosen == trial.changes
        found.append(Tried(trial.question, settings, step, change, duration(trial.seconds), trial.problem, chosen))
    return found


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
