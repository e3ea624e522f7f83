"""`autopilot.json` in the run's folder: what was tried, what came of it, and what was chosen."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...files import write_text
from ..json_files import read_json


@dataclass
class Trial:
    """Some settings, tried in place of those that the search began with.

    `losses` are pairs of a step and the held-out loss there; `seconds` is what its steps took, `glance_seconds` what a
    measurement and all else did; `problem` says why it has no loss.
    """

    question: str
    changes: dict[str, Any]
    losses: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0
    glance_seconds: float = 0.0
    problem: str = ""

    def loss_at(self, step: int) -> float | None:
        """What was measured there; None where it was not."""
        return dict(self.losses).get(step)


@dataclass
class Record:
    """All that a search knows. `start` are the settings that it began with; `budget`, `spent` and `look_seconds`, what
    measuring and drawing the base took, are seconds; `base_loss` was measured as the trials' losses are. Each probe has
    `probe_steps`, and so many `questions` are asked. `chosen` is None until the search is over."""

    file: Path
    start: dict[str, Any]
    budget: float = 0.0
    spent: float = 0.0
    look_seconds: float = 0.0
    base_loss: float = 0.0
    probe_steps: int = 0
    questions: int = 0
    trials: list[Trial] = field(default_factory=list)
    chosen: dict[str, Any] | None = None

    @staticmethod
    def read(folder: Path) -> "Record | None":
        """That of a run's folder; None where there is none."""
        file = folder / "autopilot.json"
        found = read_json(file)
        if not found:
            return None
        trials = [Trial(**{**one, "losses": [(s, x) for s, x in one["losses"]]}) for one in found.pop("trials")]
        return Record(file, **found, trials=trials)

    @staticmethod
    def begun(folder: Path, start: dict[str, Any]) -> "Record":
        """That of a run's folder, or a new one."""
        return Record.read(folder) or Record(folder / "autopilot.json", start)

    def save(self) -> None:
        """Write it atomically."""
        plain = asdict(self)
        del plain["file"]
        write_text(self.file, json.dumps(plain, indent=1) + "\n")

    def trial(self, question: str, changes: dict[str, Any]) -> tuple[int, Trial]:
        """The trial of these settings and its number, a new one where they were not tried yet."""
        for number, trial in enumerate(self.trials):
            if trial.changes == changes:
                return number, trial
        self.trials.append(Trial(question, changes))
        return len(self.trials) - 1, self.trials[-1]
