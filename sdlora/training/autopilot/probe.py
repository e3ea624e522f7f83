"""Trainings of a few steps, one after another on the same base; each can be taken further later."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from ...errors import Error
from ...sampling.memory import ran_out
from ..checkpoints import Checkpoint
from ..config import ResolvedConfig
from ..injection import Parts
from ..interrupts import Interrupts
from ..learning import Learning
from ..loss import Denoiser
from ..objective import Objective
from ..prepared import Prepared
from ..run_folder import RunFolder
from ..stepping import Stepping
from ..trained_parts import put_in, take_out
from .record import Trial

PAUSE_SECONDS = 0.5


class Stopped(Exception):
    """Somebody asked the run to stop, between two steps."""


class Probes:
    """The probes of one run, each in a folder of its own below `probes/`. They take the very steps that a run with the
    same settings takes, at a learning rate that does not fall."""

    def __init__(self, ready: Prepared, run: RunFolder, accelerator: Accelerator, interrupts: Interrupts) -> None:
        self._ready, self._run, self._accelerator, self._interrupts = ready, run, accelerator, interrupts

    def train(self, config: ResolvedConfig, number: int, trial: Trial, steps: int) -> None:
        """Train on to so many steps in all, measure, and write that into the trial and a checkpoint.

        Raises `Stopped` where that is asked for. Numbers that are none become the trial's `problem`.
        """
        began = time.perf_counter()
        with self._learning(config) as (_, learning, stepping, denoiser):
            before = Checkpoint.newest(self._folder(number))
            if before:
                learning.restore(before)
            rows = list(before.states["rows"]["rows"]) if before else []
            done = len(rows)
            try:
                for step in range(done, steps):
                    self._refuse_if_asked()
                    rows.append(_one_step(step, learning, stepping))
            except Exception as problem:  # a loss that is no number, or no memory: other settings may do
                if not (isinstance(problem, Error) or ran_out(problem)):
                    raise
                trial.problem = str(problem).partition(":")[0]
                return
            loss = self._glance(denoiser, learning)
            learning.checkpoint(steps, rows={"rows": rows}).save(self._folder(number))
        trial.losses.append((steps, loss))
        trial.seconds = sum(row["seconds"] for row in rows)  # of all its steps, whichever process took them
        trial.glance_seconds = time.perf_counter() - began - sum(row["seconds"] for row in rows[done:])

    def look_at_base(self, config: ResolvedConfig) -> tuple[dict[str, Any], float]:
        """Measure and draw the base itself: a row for the metrics, and the loss as the probes' is taken."""
        validation, views = self._ready.validation, self._ready.views
        assert validation is not None and views is not None
        with self._learning(config) as (parts, learning, _, denoiser):
            denoiser.eval()
            row = validation.measure(denoiser, parts, self._accelerator.device).row()
            views.samples(0, parts)
            return row, self._glance(denoiser, learning)

    def _glance(self, denoiser: Denoiser, learning: Learning) -> float:
        """The held-out loss over a part of its draws, which is enough to compare."""
        assert self._ready.validation is not None
        denoiser.eval()
        with learning.adapter():
            return self._ready.validation.glance(denoiser, self._accelerator.device)

    def hand_over(
        self, number: int, step: int, metadata: dict[str, str], **states: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """Make a probe's checkpoint that of the run, so that it goes on from there; the rows of its steps."""
        found = Checkpoint.load(Checkpoint.file(self._folder(number), step))
        rows: list[dict[str, Any]] = found.states.pop("rows")["rows"]
        for file in self._run.checkpoints.glob("step-*.safetensors"):
            file.unlink()
        Checkpoint(step, found.weights, found.states | states, metadata).save(self._run.checkpoints)
        return rows

    def forget(self) -> None:
        """Remove what was only kept to go on from."""
        shutil.rmtree(self._root, ignore_errors=True)

    @property
    def _root(self) -> Path:
        return self._run.path / "probes"

    def _folder(self, number: int) -> Path:
        folder = self._root / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @contextmanager
    def _learning(self, config: ResolvedConfig) -> Iterator[tuple[Parts, Learning, Stepping, Denoiser]]:
        """All that takes steps with these settings; the base is as before afterwards."""
        ready, accelerator = self._ready, self._accelerator
        base = ready.base
        parts = put_in(base, config)
        try:
            objective = Objective(config, ready.batches, ready.prior, parts, base, accelerator.device)
            learning = Learning(parts, config, accelerator.device, accelerator.scaler)
            denoiser = Denoiser(base, encodes=ready.encoder_trains)
            stepping = Stepping(config, self._run, denoiser, objective, learning, accelerator, lambda: None)
            yield parts, learning, stepping, denoiser
        finally:
            take_out(base, parts)
            accelerator.free_memory()

    def _refuse_if_asked(self) -> None:
        """Wait while a pause is asked for. Raises `Stopped`."""
        control = self._run.control()
        while control.pause and not (control.stop or self._interrupts.asked):
            time.sleep(PAUSE_SECONDS)
            control = self._run.control()
        if control.stop or self._interrupts.asked:
            raise Stopped


def _one_step(step: int, learning: Learning, stepping: Stepping) -> dict[str, Any]:
    """Take the step after `step` ones; its row of the metrics."""
    began, rate = time.perf_counter(), learning.rate
    loss, norm = stepping.step(step)
    seconds = round(time.perf_counter() - began, 4)
    return {"step": step + 1, "loss": loss, "grad_norm": norm, "learning_rate": rate, "seconds": seconds}
