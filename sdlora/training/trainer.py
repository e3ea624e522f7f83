"""The training loop: one optimiser step after the other, with everything that is measured and saved in between."""

import math
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from ..adapters import Adapter, save_adapter
from ..adapters.updates import Update
from ..bases import Base
from ..files import write_atomically
from .checkpoints import Checkpoint
from .config import ResolvedConfig
from .curve import write_curve
from .failures import in_words, not_finite
from .file_facts import file_metadata
from .injection import Layers, eject, inject, updates_of
from .interrupts import Interrupts
from .learning import Learning
from .loss import Denoiser
from .material import Material
from .objective import Objective
from .preparation import let_go, ready_base, ready_batches, ready_validation
from .previews import Previews
from .prior import ready_prior
from .progress import Reporter, StepBar, used_memory
from .run_folder import RunFolder
from .targets import select
from .validation import Best, Measured

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
    """One run, from a resolved config to an adapter file. The base is the run's own: parts that are done are let go."""

    def __init__(
        self,
        config: ResolvedConfig,
        base: Base,
        material: Material,
        run: RunFolder,
        accelerator: Accelerator,
        reporter: Reporter,
    ) -> None:
        self.config, self.base, self.material, self.run = config, base, material, run
        self.accelerator, self.reporter = accelerator, reporter
        self.device = accelerator.device
        self.step = 0
        self._samples_asked = run.control().sample
        self._interrupts = Interrupts(reporter)

        paths = select(base.modules(), config.targets)
        encoder_trains = any(path.startswith("text_encoder") for path in paths)
        ready_base(base, config, self.device, encoder_trains=encoder_trains)
        batches = ready_batches(
            base, config, material, reporter, encoder_trains=encoder_trains, examples_per_step=self._examples_per_step
        )
        self._validation = ready_validation(base, config, material, encoder_trains=encoder_trains)
        self._best: Best | None = None
        self._warned = False
        self._previews = Previews(base, config.sample_prompts, config.resolution, encoder_trains=encoder_trains)
        prior = ready_prior(
            base, config, material, run.path / "prior.safetensors", reporter, encoder_trains=encoder_trains
        )
        let_go(base, config, encoder_trains=encoder_trains)
        self.layers: Layers = inject(
            base, paths, rank=config.rank, alpha=config.effective_alpha, dropout=config.dropout, seed=config.seed
        )
        self._objective = Objective(config, batches, prior, self.layers, base, self.device)
        self._denoiser = Denoiser(base, encodes=encoder_trains)
        self._learning = Learning(self.layers, config, self.device, accelerator.scaler)
        if self.config.compile:
            self.base.unet.compile_repeated_blocks()
        self._model, self._optimiser = self.accelerator.prepare(self._denoiser, self._learning.optimiser)

    # --- the loop -----------------------------------------------------------------------------------------------

    def train(self) -> TrainedRun:
        """Train to the last step, or until somebody stops it.

        Raises `Error` when the loss becomes NaN or infinite, memory is short, or a file can't be written.
        """
        try:
            self._restore()
            with self._interrupts:
                self._loop()
            state = "finished" if self.step == self.config.steps or self._out_of_patience else "stopped"
            best = self._chosen() if state == "finished" else None
            path = self._save_adapter(best, finished=state == "finished")
            step = best.step if best else self.step
            self._status(state, adapter=str(path), adapter_step=step)
        except BaseException as problem:
            sentence = in_words(problem, self.step + 1, self.run)
            with suppress(OSError):  # a disk that is full stays full
                self._status("failed", message=str(sentence or problem) or type(problem).__name__)
            if sentence:
                raise sentence from problem
            raise
        finally:
            eject(self.base, self.layers)
        before, after = self.run.held_out_losses()
        return TrainedRun(self.run.path, path, state, step, before, after)

    def _loop(self) -> None:
        config = self.config
        if self._fresh:
            self._validate()
            self._preview()
        with StepBar(self.reporter, config.steps, self.step, self.device) as bar:
            while self.step < config.steps and not self._out_of_patience and not self._asked_to_stop():
                started = time.perf_counter()
                rate = self._learning.rate
                loss, norm = self._optimise()
                seconds = time.perf_counter() - started
                bar.advance(loss, seconds)
                self._log({"loss": loss, "grad_norm": norm, "learning_rate": rate, "seconds": round(seconds, 4)})
                self._status("running", force=False)
                self._intervals()
        if self._out_of_patience:
            self.reporter.say(
                f"step {self.step}: {config.patience} measurements in a row were no better, so it ends here"
            )
        elif self.step < config.steps:
            self._checkpoint()
            self._curve()

    def _optimise(self) -> tuple[float, float]:
        """One optimiser step over accumulation × batch examples of each process; mean loss and gradient norm."""
        config, accelerator = self.config, self.accelerator
        if not self._denoiser.training:  # it costs a hundredth of a step to ask hundreds of modules
            self._denoiser.train()
        losses = []
        for part in range(config.gradient_accumulation):
            with accelerator.accumulate(self._model):
                losses.append(self._objective.loss(self._model, self._indices(part)))
                accelerator.backward(losses[-1])
                losses[-1] = losses[-1].detach()
                if accelerator.sync_gradients:
                    loss, norm = self._clipped(losses)
                self._optimiser.step()
                self._optimiser.zero_grad()
        self.step += 1
        self._learning.stepped(self.step)
        return loss, norm

    def _clipped(self, losses: list[Tensor]) -> tuple[float, float]:
        """Clip the gradients; the mean loss of all processes and the gradients' norm before. Raises `Error` for NaN.

        The only moment of a step that waits for a GPU.
        """
        norm = self.accelerator.clip_grad_norm_(self._learning.parameters, self.config.max_grad_norm)
        loss = self.accelerator.reduce(torch.stack(losses).mean(), "mean")
        numbers = torch.stack([loss.float(), norm.float()]).tolist()
        skipped = self.config.precision == "fp16"  # there the loss scaler finds and skips such steps
        if not math.isfinite(numbers[0]) or not (skipped or math.isfinite(numbers[1])):
            self._keep_last_good()
        self._refuse_nan("loss", numbers[0], self.step + 1)
        if not skipped:
            self._refuse_nan("gradient", numbers[1], self.step + 1)
        return numbers[0], numbers[1]

    @property
    def _examples_per_step(self) -> int:
        return self.config.batch_size * self.config.gradient_accumulation * self.accelerator.num_processes

    def _indices(self, part: int) -> range:
        """Global example indices of this process in one forward pass of the current step."""
        size = self.config.batch_size
        start = self.step * self._examples_per_step
        start += (part * self.accelerator.num_processes + self.accelerator.process_index) * size
        return range(start, start + size)

    def _refuse_nan(self, what: str, value: float, step: int) -> None:
        if not math.isfinite(value):
            raise not_finite(what, value, step, self.run)

    # --- between steps ------------------------------------------------------------------------------------------

    def _intervals(self) -> None:
        """What falls due after a step. The checkpoint comes last: whatever it covers has been done by then."""
        if not self.accelerator.is_main_process:
            return
        config, last = self.config, self.step == self.config.steps
        if last or self.step % config.validate_every == 0:
            self._validate()
            self._curve()
        asked = self.run.control().sample
        if last or self.step % config.sample_every == 0 or asked != self._samples_asked:
            self._samples_asked = asked
            self._preview()
        if last or self.step % config.checkpoint_every == 0:
            self._checkpoint()

    def _validate(self) -> None:
        if self._validation is None or not self.accelerator.is_main_process:
            return
        self._denoiser.eval()
        with self._learning.adapter() as adapter:
            result = self._validation.measure(self._denoiser, self.layers, self.device)
            self._judge(result, adapter)
        self._refuse_nan("held-out loss", result.loss, self.step)
        self._log(result.row())
        self.reporter.say(f"step {self.step}: held-out loss {result.loss:.4f}")

    def _judge(self, now: Measured, adapter: Mapping[str, Tensor]) -> None:
        """Keep the adapter where it is the best so far; say once that it begins to learn by heart."""
        best = self._best
        if best is None or now.loss < best.loss:
            weights = {key: tensor.detach().to("cpu", copy=True) for key, tensor in adapter.items()}
            self._best = Best(self.step, now.loss, now.train_loss, weights)
            return
        self._best = replace(best, since=best.since + 1)
        if best.memorises(now) and not self._warned:
            self._warned = True
            self.reporter.warn(
                f"step {self.step}: it learns the training images by heart: the held-out loss is "
                f"{now.loss / best.loss - 1:.1%} above its best (step {best.step}), that of the training images falls"
            )

    @property
    def _out_of_patience(self) -> bool:
        patience = self.config.patience
        return bool(patience and self._best and self._best.since >= patience)

    def _curve(self) -> None:
        if self.accelerator.is_main_process:
            write_curve(self.run.metrics(), self.run.curve_file)

    def _preview(self) -> None:
        if self.accelerator.is_main_process:
            self._denoiser.eval()
            with self._learning.adapter():
                self._previews.draw(self.step, self.run.samples)

    def _asked_to_stop(self) -> bool:
        """Poll `control.json` and the keyboard; wait here while a pause is asked for."""
        control = self.run.control()
        while control.pause and not control.stop and not self._interrupts.asked:
            self._status("paused", force=False)
            time.sleep(PAUSE_SECONDS)
            control = self.run.control()
        asked = torch.tensor(float(control.stop or self._interrupts.asked), device=self.device)
        return self.accelerator.reduce(asked, "sum").item() > 0

    # --- files --------------------------------------------------------------------------------------------------

    def _restore(self) -> None:
        """Go on from the newest checkpoint, or from step 0 where there is none."""
        checkpoint = Checkpoint.newest(self.run.checkpoints)
        self._fresh = checkpoint is None
        if checkpoint is not None:
            self.step = checkpoint.step
            self._learning.restore(checkpoint)
            self._best = Best(**checkpoint.states["best"]) if "best" in checkpoint.states else None
            self.reporter.say(f"resuming {self.run.name} at step {self.step} of {self.config.steps}")
        if self.accelerator.is_main_process:
            self.run.tidy(-1 if self._fresh else self.step)  # a fresh run makes even the rows of step 0 anew
        self._status("running")

    def _checkpoint(self) -> None:
        if not self.accelerator.is_main_process:
            return
        if not self._learning.finite():
            raise not_finite("adapter", math.nan, self.step, self.run)  # the newest checkpoint must be a good one
        self._written_checkpoint()
        Checkpoint.prune(self.run.checkpoints, self.config.keep_checkpoints)

    def _keep_last_good(self) -> None:
        """What the last good step left, which is what the layers still hold. No other checkpoint makes room for it: it
        may be on its way to the trouble already."""
        done = self.step in (0, Checkpoint.newest_step(self.run.checkpoints))
        if self.accelerator.is_main_process and not done and self._learning.finite():
            self._written_checkpoint()

    def _written_checkpoint(self) -> None:
        more = {"best": self._best.state()} if self._best else {}
        self._learning.checkpoint(self.step, **more).save(self.run.checkpoints)

    def _chosen(self) -> Best | None:
        """The best step, where the adapter is to be that one's and not the last one's."""
        best = self._best
        if best is not None and best.step == 0 and self.step:
            self.reporter.warn("no measurement was better than the base's: the adapter did harm, see the learning rate")
        if self.config.choose == "last" or best is None or best.step in (0, self.step):
            return None
        self.reporter.say(f"the adapter is that of step {best.step}, the best by the held-out loss")
        return best

    def _updates(self, best: Best | None) -> dict[str, Update]:
        """The adapter of the best step if there is one, else as it is now."""
        with self._learning.adapter() as adapter, torch.no_grad():
            for key, weight in best.weights.items() if best else ():
                adapter[key].copy_(weight)
            return dict(updates_of(self.layers))

    def _save_adapter(self, best: Best | None, *, finished: bool) -> Path:
        run = self.run
        if not self.accelerator.is_main_process:
            return run.adapter_file
        step = best.step if best else self.step
        examples = step * self._examples_per_step
        metadata = file_metadata(self.config, self.base, self.material, run, step, examples)
        adapter = Adapter(run.name, self._updates(best), metadata=metadata, family=self.base.family)
        save_adapter(adapter, run.adapter_file, dtype=self.config.save_dtype)
        if not finished:
            return run.adapter_file
        target = Path(self.config.workspace) / "adapters" / run.adapter_file.name
        write_atomically(target, lambda path: shutil.copyfile(run.adapter_file, path))
        return target

    def _log(self, row: dict[str, Any]) -> None:
        if self.accelerator.is_main_process:
            self.run.append_metrics({"step": self.step, **row})

    def _status(self, state: str, **more: Any) -> None:
        if self.accelerator.is_main_process:
            memory = used_memory(self.device)
            self.run.write_status(state, self.step, self.config.steps, memory=memory, **more)
