"""What there is time for."""

import math
import time
from collections.abc import Collection, Sequence
from typing import Any

from ..config import ResolvedConfig
from ..config_values import seconds_of
from .questions import Question
from .record import Record, Trial

FIRST = 8  # steps of the first probe, after which it is known how long a step takes; fewer tell nothing
TELLING = 6  # a probe has at least this part of the usual steps: after fewer, the fastest is ahead and not the best
PROBING = 0.3  # of the time goes into probes at the most: the best one's steps are no loss, but the others' are
MEASURING = 0.2  # of the time that is left goes into measurements on the way
USUAL = 2.0  # times the usual steps' time are given to a run that has no time budget


class Timing:
    """The clock of one search. `began` is when this process took up the run, in seconds of the monotonic clock; what
    earlier ones took stands in the record."""

    def __init__(self, record: Record, start: ResolvedConfig, asked: Collection[str], began: float) -> None:
        self.record = record
        self._earlier, self._began = record.spent, began
        self._start, self._fixed = start, bool({"steps", "epochs"} & set(asked))
        self._intervals = {key for key in ("validate_every", "sample_every", "checkpoint_every") if key not in asked}

    @property
    def first_steps(self) -> int:
        """Steps of the first probe."""
        return min(FIRST, max(1, self._start.steps // 2))

    def save(self) -> None:
        """Write the record, with the time until now."""
        self.record.spent = self._earlier + time.monotonic() - self._began
        self.record.save()

    @property
    def left(self) -> float:
        """Seconds, but for those that the end takes: it is measured and drawn as the base was."""
        spent = self._earlier + time.monotonic() - self._began
        return self.record.budget - spent - self.record.look_seconds

    def planned(self, first: Trial, open_: Sequence[Question]) -> int:
        """Steps of each probe, which are fixed with the budget when the first one is over, and how many questions there
        is time to ask."""
        record = self.record
        if not record.probe_steps:
            each = _each(first)
            usual = self._earlier + time.monotonic() - self._began + 2 * record.look_seconds
            record.budget = seconds_of(self._start.time_budget) or usual + USUAL * self._start.steps * each
            longest = max(self.first_steps, self._start.steps // 4)
            shortest = max(self.first_steps, self._start.steps // TELLING)
            # with nothing to ask the probe is but a beginning, of which the whole of a short time must not be made
            beginning = max(self.first_steps, min(shortest, math.floor(self.left / 3 / each)))
            record.probe_steps, record.questions = shortest if self._fixed else beginning, 0
            for asked in range(len(open_), 0, -1):
                probes = 1 + sum(len(question.alternatives(first.changes)) for question in open_[:asked])
                steps = math.floor((PROBING * self.left / probes - first.glance_seconds) / each)
                if steps >= shortest:
                    record.probe_steps, record.questions = min(steps, longest), asked
                    break
            self.save()
        return record.probe_steps

    def too_long(self, best: Trial) -> bool:
        """Whether the steps that were asked for take longer than there is time."""
        return self._fixed and self._start.steps * _each(best) > self.left

    def allows(self, best: Trial, steps: int) -> bool:
        """Whether there is time for one more probe, and for the best to go on twice as long as it did."""
        return self.left > 3 * (steps * _each(best) + best.glance_seconds)

    def total(self, best: Trial, step: int) -> int:
        """Steps that there is time for in all, if `step` are done."""
        if self._fixed:
            return self._start.steps
        time_left = self.left - self._measurements * self.record.look_seconds
        return step + max(0, math.floor(time_left / _each(best)))

    def half_is_not_done(self, best: Trial, step: int) -> bool:
        """Whether another probe's steps are within the first half."""
        return not best.problem and 2 * (step + self.record.probe_steps) <= self.total(best, step)

    def lengths(self, best: Trial, step: int) -> dict[str, Any]:
        """Steps in all and the intervals, for a run that goes on from `step`: as long again, for the learning rate to
        fall, where more was no better; else as long as there is time."""
        steps = max(self.total(best, step), step + max(1, step // 2))
        if step < best.losses[-1][0]:
            steps = min(steps, 2 * step)
        if self._fixed:
            steps = self._start.steps
        parts = 1 + self._measurements
        every = steps if parts == 1 else max(1, math.ceil((steps - step) / parts))
        return {"steps": steps, "epochs": None} | dict.fromkeys(self._intervals, every)

    @property
    def _measurements(self) -> int:
        """How many there is time for before the last one."""
        return min(3, max(0, math.floor(MEASURING * self.left / max(self.record.look_seconds, 1e-9))))


def _each(trial: Trial) -> float:
    """Seconds a step."""
    return max(trial.seconds, 1e-6) / trial.losses[-1][0]
