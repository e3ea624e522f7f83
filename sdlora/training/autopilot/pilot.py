"""The search: which settings to try, for how long, and when the best of them goes on to the end."""

import time
from typing import Any

from accelerate import Accelerator

from ...errors import Error
from ..config import ResolvedConfig
from ..file_facts import file_metadata
from ..interrupts import Interrupts
from ..judging import Best
from ..material import Material
from ..memory_ladder import explicit
from ..prepared import Prepared
from ..progress import Reporter
from ..report.told import duration
from ..run_folder import RunFolder
from .probe import Probes, Stopped
from .questions import Changes, Question, questions, searched
from .record import Record, Trial
from .timing import Timing

CLEARLY = 0.05  # of what was gained so far: what is better by less after a few steps is often worse after many
HOPES = 2  # so many times in a row a longer training may be no better before it is taken for too long


def refuse_search(material: Material, processes: int) -> None:
    """Raises `Error` where nothing can be searched for."""
    if processes > 1:
        raise Error(
            "preset = auto searches in one process: start it alone, then train its run's config.toml in several, with "
            "--preset style --time-budget auto"
        )
    if not material.holdout:
        raise Error("preset = auto compares by held-out images, and there are none: give more images, or a holdout")


class Autopilot:
    """Of one run, which begins with the settings `start`, but for those that the user gave, which stay. `began` is when
    this process took up the run, by the monotonic clock.

    A killed search goes on where it was: what was tried stands in the run's `autopilot.json`.
    """

    def __init__(
        self,
        start: ResolvedConfig,
        ready: Prepared,
        run: RunFolder,
        accelerator: Accelerator,
        reporter: Reporter,
        interrupts: Interrupts,
        began: float,
    ) -> None:
        asked, self._resumed = explicit(run.asked()), start
        self._record = Record.begun(run.path, searched(start))
        # a search that was stopped left what was best until then; its steps may have been given since, by --continue
        kept = {"steps"} if {"steps", "epochs"} & asked else set()
        start = start.model_copy(update={key: v for key, v in self._record.start.items() if key not in kept})
        self._start = start.model_copy(update={"schedule": "constant_with_warmup", "schedule_args": {}})
        self._final, self._asked = start, asked
        self._ready, self._run, self._reporter = ready, run, reporter
        self._examples = start.batch_size * start.gradient_accumulation
        self._probes = Probes(ready, run, accelerator, interrupts)
        self._interrupts, self._processes = interrupts, accelerator.num_processes
        self._timing = Timing(self._record, start, asked, began)

    def choose(self) -> ResolvedConfig:
        """The settings to train with; the run's newest checkpoint is then that of the probe that had them. Where
        somebody asks to stop meanwhile, those that are the best so far; where the search is over, those it ended with.
        """
        if self._record.chosen is not None:
            return self._resumed
        refuse_search(self._ready.material, self._processes)
        try:
            self._look_at_base()
            with self._interrupts:
                # from here on it hears `control.json`: who wants it to stop asks there, and need not end the process
                self._run.write_status("running", 0, self._final.steps)
                best = self._search()
                best, step = self._go_on(best)
                return self._settled(best, step)
        except Stopped:
            self._timing.save()
            measured = [trial for trial in self._record.trials if trial.losses]
            if not measured:
                return self._final
            best = min(measured, key=lambda trial: trial.losses[-1][1])
            return self._handed_over(best, best.losses[-1][0])

    # --- the search ---------------------------------------------------------------------------------------------

    def _look_at_base(self) -> None:
        """Measure and draw what there is before anything is learned, once."""
        if not self._record.base_loss:
            began = time.perf_counter()
            row, self._record.base_loss = self._probes.look_at_base(self._start)
            self._record.look_seconds = time.perf_counter() - began
            self._run.tidy(-1)
            self._run.append_metrics({"step": 0, **row})
            self._timing.save()

    def _search(self) -> Trial:
        """The settings that are the best after a few steps."""
        best = self._tried("as it begins", self._record.start, self._timing.first_steps)
        if not best.losses:
            raise Error(f"The settings that the search begins with can't be trained: {best.problem}")
        open_ = questions(self._start, self._asked, self._ready.base)
        steps = self._timing.planned(best, open_)
        best = self._tried("as it begins", self._record.start, steps)
        self._reporter.say(
            f"autopilot: {duration(self._record.budget)} in all, {steps} steps a probe, asking for "
            f"{', '.join(question.words for question in open_[: self._record.questions]) or 'nothing but the steps'}"
        )
        if self._timing.too_long(best):
            self._reporter.warn("steps or epochs are given, so that all takes longer than the time budget")
        for question in open_[: self._record.questions]:
            best = self._answer(question, best, steps)
        return best

    def _answer(self, question: Question, best: Trial, steps: int) -> Trial:
        """The best of the alternatives and what was the best before. From a better learning rate, the next one in the
        same direction is tried as well."""
        before = best
        for changes in question.alternatives(best.changes):
            other = self._tried(question.words, self._own(before, changes), steps)
            best = better(best, other, steps, self._record.base_loss)
        if best is not before and question.keys == ("learning_rate",):
            for changes in question.alternatives(best.changes):
                if self._own(best, changes) != before.changes and self._timing.allows(best, steps):
                    other = self._tried(question.words, self._own(best, changes), steps)
                    return better(best, other, steps, self._record.base_loss)
        return best

    def _own(self, trial: Trial, changes: Changes) -> Changes:
        """A trial's settings with changes, but for what the user has set."""
        return trial.changes | {key: value for key, value in changes.items() if key not in self._asked}

    def _go_on(self, best: Trial) -> tuple[Trial, int]:
        """Train the best on at its learning rate, until half of the steps that there is time for are done, or it gets
        no better; the step with the lowest loss. The other half is for the rate to fall."""
        step, hopes = best.losses[-1][0], HOPES
        while hopes and self._timing.half_is_not_done(best, step):
            step += self._record.probe_steps
            self._tried(best.question, best.changes, step)
            lowest = min(best.losses, key=lambda pair: pair[1])[0]
            hopes = hopes - 1 if lowest != step else HOPES
            if best.problem:
                break
        step = min(best.losses, key=lambda pair: pair[1])[0]
        return best, step

    def _tried(self, question: str, changes: Changes, steps: int) -> Trial:
        """A trial with its loss after so many steps, as it was measured or measured now."""
        number, trial = self._record.trial(question, changes)
        if trial.problem or trial.loss_at(steps) is not None:
            return trial
        config = self._start.model_copy(update=changes)
        self._probes.train(config, number, trial, steps)
        self._timing.save()
        loss = trial.loss_at(steps)
        told = trial.problem if loss is None else f"{loss / self._record.base_loss - 1:+.2%}"
        own = {key: value for key, value in changes.items() if self._record.start[key] != value}
        what = ", ".join(f"{key} = {_short(value)}" for key, value in own.items()) or "the settings it begins with"
        self._reporter.say(f"autopilot: {what}: held-out loss {told} after {steps} steps")
        return trial

    # --- the choice ---------------------------------------------------------------------------------------------

    def _settled(self, best: Trial, step: int) -> ResolvedConfig:
        """The run's settings from here on, with everything in its place for them."""
        config = self._handed_over(best, step)
        self._record.chosen = best.changes
        self._timing.save()
        self._probes.forget()
        self._reporter.say(f"autopilot: goes on from step {step} to step {config.steps}")
        return config

    def _handed_over(self, best: Trial, step: int) -> ResolvedConfig:
        """The run as if it had begun with these settings and come to this step."""
        config = self._final.model_copy(update={**best.changes, **self._timing.lengths(best, step)})
        before: dict[str, Any] = next(row for row in self._run.metrics() if row["step"] == 0)
        number, _ = self._record.trial(best.question, best.changes)
        base, material = self._ready.base, self._ready.material
        rows = self._probes.hand_over(
            number,
            step,
            file_metadata(config, base, material, self._run, step, step * self._examples),
            best=Best(0, before["holdout_loss"], before["train_loss"], {}).state(),
        )
        self._run.tidy(0)
        for row in rows:
            self._run.append_metrics(row)
        self._run.change_config(config)
        return config


def better(one: Trial, other: Trial, steps: int, base_loss: float) -> Trial:
    """The other one, if it is clearly better after so many steps."""
    first, second = one.loss_at(steps), other.loss_at(steps)
    if first is None or second is None:
        return one if second is None else other
    return other if first - second > CLEARLY * max(0.0, base_loss - first) else one


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else "+".join(value) if isinstance(value, list) else str(value)
