"""The training loop: one optimiser step after the other, with everything that is measured and saved in between."""

import math
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from ..adapters import Adapter
from ..errors import Error
from ..sampling.memory import attempted, free_caches, ran_out
from .checkpoints import Checkpoint
from .config import ResolvedConfig
from .failures import half_done, in_words, not_finite
from .injection import updates_of
from .interrupts import Interrupts
from .judging import Best, Judge
from .keeping import kept_by_user
from .learned_tokens import vectors_of
from .learning import Learning
from .loss import Denoiser
from .memory_relief import Relief
from .objective import Objective
from .prepared import Prepared
from .progress import Reporter, StepBar, used_memory
from .run_folder import RunFolder
from .saving import Saving
from .stepping import Stepping
from .trained_parts import put_in, take_out

PAUSE_SECONDS = 0.5


@dataclass(frozen=True)
class TrainedRun:
    """What a training leaves behind. `adapter_path` is in the workspace's `adapters/` when `state` is finished, in the
    run's own folder when it is stopped; the held-out losses are None where nothing was held out."""

    folder: Path
    adapter_path: Path
    state: str
    steps: int
    holdout_loss_before: float | None
    holdout_loss_after: float | None


class Trainer:
    """One run, from a resolved config to an adapter file."""

    def __init__(
        self,
        config: ResolvedConfig,
        ready: Prepared,
        run: RunFolder,
        accelerator: Accelerator,
        reporter: Reporter,
        interrupts: Interrupts,
    ) -> None:
        base = ready.base
        self.config, self.base, self.run = config, base, run
        self.accelerator, self.reporter = accelerator, reporter
        self.device = accelerator.device
        self.step = 0
        self._peak = int(run.status().get("peak_memory", 0))
        self._samples_asked = run.control().sample
        self._interrupts = interrupts
        self._validation, self._views = ready.validation, ready.views
        self._judge = Judge(config, reporter)
        self.parts = put_in(base, config)
        objective = Objective(config, ready.batches, ready.prior, self.parts, base, self.device)
        self._denoiser = Denoiser(base, encodes=ready.encoder_trains)
        self._learning = Learning(self.parts, config, self.device, accelerator.scaler)
        if self.config.compile:
            self.base.unet.compile_repeated_blocks()
        examples = config.batch_size * config.gradient_accumulation * accelerator.num_processes
        self._saving = Saving(run, config, base, ready.material, self._learning, examples)
        self._stepping = Stepping(config, run, self._denoiser, objective, self._learning, accelerator, self._keep)
        self._relief = Relief(config, run, base, accelerator, reporter, encoder_trains=ready.encoder_trains)

    # --- the loop -----------------------------------------------------------------------------------------------

    def train(self) -> TrainedRun:
        """Train to the last step, or until somebody stops it.

        Raises `Error` when the loss becomes NaN or infinite, memory is short, or a file can't be written.
        """
        try:
            self._restore()
            with self._interrupts:
                self._loop()
            state = "finished" if self.step == self.config.steps or self._judge.out_of_patience else "stopped"
            best = kept_by_user(self.run, self.reporter)
            if best is None and state == "finished":
                best = self._judge.chosen(self.step)
            path = self._save_adapter(best, finished=state == "finished")
            step = best.step if best else self.step
            self._status(state, adapter=str(path), adapter_step=step)
            self._end()
        except BaseException as problem:
            if ran_out(problem) and not self._stepping.broken:  # in between steps; `_optimise` has its own way
                with suppress(OSError, Error):
                    self._keep()
            sentence = in_words(problem, self.step + 1, self.run)
            with suppress(OSError, Error):  # a disk that is full stays full
                self._status("failed", message=str(sentence or problem) or type(problem).__name__)
                self._end()
            if sentence:
                raise sentence from problem
            raise
        finally:
            take_out(self.base, self.parts)
        ended: list[Any] = [state, str(path), step]
        if self.accelerator.num_processes > 1:
            broadcast_object_list(ended)  # the main process alone has measured, and knows the best step
        state, path, step = ended[0], Path(ended[1]), ended[2]
        before, after = self.run.held_out_losses()
        return TrainedRun(self.run.path, path, state, step, before, after)

    def _loop(self) -> None:
        config = self.config
        if self._fresh:
            self._validate()
            self._preview()
        with StepBar(self.reporter, config.steps, self.step, self.device) as bar:
            while self.step < config.steps and not self._ends_here():
                started = time.perf_counter()
                rate = self._learning.rate
                numbers = self._optimise()
                if numbers is None:
                    continue
                (loss, norm), seconds = numbers, time.perf_counter() - started
                bar.advance(loss, seconds)
                self._log({"loss": loss, "grad_norm": norm, "learning_rate": rate, "seconds": round(seconds, 4)})
                self._status("running", force=False)
                self._relief.look(self.config, self.step)
                self._intervals()
        if self._judge.out_of_patience:
            self.reporter.say(
                f"step {self.step}: {config.patience} measurements in a row were no better, so it ends here"
            )
        if self.step < config.steps:
            self._checkpoint()

    def _end(self) -> None:
        if self._views:
            self._views.end()

    def _optimise(self) -> tuple[float, float] | None:
        """One optimiser step; mean loss and gradient norm. None where memory ran out and room was made for it."""
        done, numbers = attempted(lambda: self._stepping.step(self.step))
        if not done:
            self._make_room()
            return None
        self.step += 1
        return numbers

    def _make_room(self) -> None:
        """Keep what was learned, and need less memory from here on. Raises `Error` where nothing more can be saved."""
        free_caches()
        if self._stepping.broken:
            raise half_done(self.step + 1, self.run)
        self._keep()
        self.config = self._relief.next_rung(self.config, self.step + 1)
        self._stepping.start_over(self.config)

    def _keep(self) -> None:
        """What the last good step left, which is what the layers still hold."""
        if self.accelerator.is_main_process:
            self._saving.last_good(self.step, self._judge.best)

    def _refuse_nan(self, what: str, value: float, step: int) -> None:
        if not math.isfinite(value):
            raise not_finite(what, value, step, self.run)

    # --- between steps ------------------------------------------------------------------------------------------

    def _intervals(self) -> None:
        """What falls due after a step. The checkpoint comes last: whatever it covers has been done by then."""
        if not self._views:
            return
        config, last = self.config, self.step == self.config.steps
        if due := last or self.step % config.validate_every == 0:
            self._validate()
        asked = self.run.control().sample
        if last or self.step % config.sample_every == 0 or asked != self._samples_asked:
            self._samples_asked = asked
            self._preview()
        if due and not last:  # the last is written when all is known
            self._views.page()
        best = self._judge.best
        if last or self.step % config.checkpoint_every == 0 or (best and best.step == self.step):
            self._checkpoint()

    def _validate(self) -> None:
        if self._validation is None or not self.accelerator.is_main_process:
            return
        self._denoiser.eval()
        with self._learning.adapter() as adapter:
            result = self._validation.measure(self._denoiser, self.parts, self.device)
            self._judge.weigh(self.step, result, adapter)
        self._refuse_nan("held-out loss", result.loss, self.step)
        self._log(result.row())
        self.reporter.say(f"step {self.step}: {result.words}")
        self._judge.warn(self.step, result, self.run.metrics())

    def _preview(self) -> None:
        if self._views:
            self._denoiser.eval()
            with self._learning.adapter():
                self._views.samples(self.step, self.parts)

    def _ends_here(self) -> bool:
        """Whether patience is at its end, or `control.json` or the keyboard asks to stop; the same for all processes,
        though one alone may know. Waits here while a pause is asked for."""
        control, done = self.run.control(), self._judge.out_of_patience
        while control.pause and not (control.stop or done or self._interrupts.asked):
            self._status("paused", force=False)
            time.sleep(PAUSE_SECONDS)
            control = self.run.control()
        asked = torch.tensor(float(control.stop or done or self._interrupts.asked), device=self.device)
        return self.accelerator.reduce(asked, "sum").item() > 0

    # --- files --------------------------------------------------------------------------------------------------

    def _restore(self) -> None:
        """Go on from the newest checkpoint, or from step 0 where there is none."""
        checkpoint = Checkpoint.newest(self.run.checkpoints)
        self._fresh = checkpoint is None
        if checkpoint is not None:
            self.step = checkpoint.step
            self._learning.restore(checkpoint)
            self._judge.best = Best(**checkpoint.states["best"]) if "best" in checkpoint.states else None
            self.reporter.say(f"resuming {self.run.name} at step {self.step} of {self.config.steps}")
        if self._views:
            # a fresh run makes even the rows of step 0 anew
            self._views.begin(self.config, -1 if self._fresh else self.step)
        self._status("running")

    def _checkpoint(self) -> None:
        if self.accelerator.is_main_process:
            self._saving.checkpoint(self.step, self._judge.best)

    def _learned(self, best: Best | None) -> Adapter:
        """The adapter of the best step if there is one, else as it is now."""
        with self._learning.adapter() as adapter, torch.no_grad():
            for key, weight in best.weights.items() if best else ():
                adapter[key].copy_(weight)
            first, second = vectors_of(adapter, self.config.trigger)
            return Adapter(self.run.name, updates_of(self.parts), first, tokens_2=second)

    def _save_adapter(self, best: Best | None, *, finished: bool) -> Path:
        if not self.accelerator.is_main_process:
            return self.run.adapter_file
        return self._saving.adapter(best.step if best else self.step, self._learned(best), finished=finished)

    def _log(self, row: dict[str, Any]) -> None:
        if self._views:
            self._views.row(self.step, row)

    def _status(self, state: str, **more: Any) -> None:
        if self.accelerator.is_main_process:
            memory = used_memory(self.device)
            self._peak = max(self._peak, memory)
            more |= {"memory": memory, "peak_memory": self._peak}
            self.run.write_status(state, self.step, self.config.steps, **more)
