"""The training loop: one optimiser step after the other, with everything that is measured and saved in between."""

import math
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.optimization import get_scheduler
from torch import Tensor

from ..adapters import Adapter, save_adapter
from ..bases import Base
from ..data.latents import encode_images
from ..errors import Error
from ..files import write_atomically
from .attention import use_attention
from .batches import Batches, Prompts
from .checkpoints import Checkpoint
from .config import ResolvedConfig
from .curve import write_curve
from .defaults import PRECISIONS
from .file_facts import file_metadata
from .holdout import HeldOutLoss, Holdout
from .injection import Layers, eject, inject, updates_of
from .loss import Denoiser, NoiseSchedule, squared_error
from .material import Material
from .previews import draw_previews
from .progress import Reporter, StepBar, used_memory
from .randomness import derived_seed
from .run_folder import RunFolder
from .targets import select

PAUSE_SECONDS = 0.5
ADVICE = "lower learning_rate, or try precision = fp32; the last good state is kept as a checkpoint"


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
        self._interrupted = False

        paths = select(base.modules(), config.targets)
        encoder_trains = any(path.startswith("text_encoder") for path in paths)
        self._ready_base()
        self._batches = self._ready_batches(encoder_trains)
        self._holdout = self._ready_holdout(encoder_trains)
        self.layers: Layers = inject(
            base,
            paths,
            rank=config.rank,
            alpha=config.effective_alpha,
            dropout=config.dropout,
            seed=config.seed,
        )
        self._denoiser = Denoiser(base)
        self._ready_optimiser()

    # --- set-up -------------------------------------------------------------------------------------------------

    def _ready_base(self) -> None:
        """The base on its device; UNet and text encoder in the run's precision, the VAE (used once) in fp32."""
        config, base = self.config, self.base
        base.to(device=self.device)
        for module in (base.unet, *base.text_encoders):
            module.to(PRECISIONS[config.precision])
        base.unet.to(memory_format=torch.channels_last)
        use_attention(base.unet, config.attention)
        if config.gradient_checkpointing:
            base.unet.enable_gradient_checkpointing()
            for encoder in base.text_encoders:
                encoder.gradient_checkpointing_enable()

    def _ready_batches(self, encoder_trains: bool) -> Batches:
        config, examples = self.config, self.material.train
        with self.reporter.console.status(f"encoding {len(examples)} images"):
            latents = encode_images(self.base.vae, examples, config.resolution, mirrored=config.flip)
        if max(latents.lost) > 0.2:
            cut = sum(lost > 0.2 for lost in latents.lost)
            self.reporter.warn(f"{cut} of {len(examples)} images lose over a fifth of their area to the square crop")
        if enlarged := sum(scale > 1 for scale in latents.upscaled):
            self.reporter.warn(
                f"{enlarged} of {len(examples)} images are smaller than {config.resolution} px: enlarged"
            )
        self.schedule = NoiseSchedule.of(self.base)
        return Batches(
            examples,
            latents,
            Prompts(self.base, [e.caption for e in examples], encoder_trains=encoder_trains),
            self.schedule,
            seed=config.seed,
            caption_dropout=config.caption_dropout,
            global_batch=self._examples_per_step,
        )

    def _ready_holdout(self, encoder_trains: bool) -> Holdout | None:
        if not self.material.holdout:
            return None
        config = self.config
        return Holdout(
            self.base, self.material.holdout, config.resolution, seed=config.seed, encoder_trains=encoder_trains
        )

    def _ready_optimiser(self) -> None:
        config = self.config
        rates = {"unet": config.learning_rate, "text_encoder": config.text_encoder_learning_rate}
        groups = [
            {
                "params": [
                    p
                    for path, layer in self.layers.items()
                    if path.startswith(component)
                    for p in layer_parameters(layer)
                ],
                "lr": rate,
            }
            for component, rate in rates.items()
        ]
        groups = [group for group in groups if group["params"]]
        self._parameters = [p for group in groups for p in group["params"]]  # type: ignore[attr-defined]
        optimiser = torch.optim.AdamW(groups, weight_decay=config.weight_decay, fused=self.device.type != "mps")
        self._learning_rate = get_scheduler(
            config.schedule, optimiser, num_warmup_steps=config.warmup, num_training_steps=config.steps
        )
        if config.compile:
            self.base.unet.compile_repeated_blocks()
        self._model, self._optimiser = self.accelerator.prepare(self._denoiser, optimiser)

    # --- the loop -----------------------------------------------------------------------------------------------

    def train(self) -> TrainedRun:
        """Train to the last step, or until somebody stops it. Raises `Error` when the loss becomes NaN or infinite."""
        self._restore()
        config, run = self.config, self.run
        try:
            with self._signals_noted():
                self._loop()
            stopped = self.step < config.steps
            path = self._save_adapter(finished=not stopped)
            state = "stopped" if stopped else "finished"
            self._status(state, adapter=str(path))
        except BaseException as problem:
            self._status("failed", message=str(problem) or type(problem).__name__)
            raise
        finally:
            eject(self.base, self.layers)
        before, after = self._held_out_losses()
        return TrainedRun(run.path, path, state, self.step, before, after)

    def _loop(self) -> None:
        config = self.config
        if self.step == 0:
            self._validate()
            self._preview()
        with StepBar(self.reporter, config.steps, self.step, self.device) as bar:
            while self.step < config.steps and not self._asked_to_stop():
                started = time.perf_counter()
                loss, norm = self._optimise()
                seconds = time.perf_counter() - started
                bar.advance(loss, seconds)
                self._log({
                    "loss": loss,
                    "grad_norm": norm,
                    "learning_rate": self._rate(),
                    "seconds": round(seconds, 4),
                })
                self._status("running", force=False)
                self._intervals()
        if self.step < config.steps and self.accelerator.is_main_process:
            self._checkpoint()

    def _optimise(self) -> tuple[float, float]:
        """One optimiser step over accumulation × batch examples of each process; returns mean loss and gradient norm."""
        config, accelerator = self.config, self.accelerator
        self._model.train()
        total = 0.0
        norm = torch.zeros(())
        for part in range(config.gradient_accumulation):
            with accelerator.accumulate(self._model):
                if config.dropout:
                    torch.manual_seed(derived_seed(config.seed, "dropout", self.step, part, accelerator.process_index))
                loss = self._loss(part)
                total += self._checked(accelerator.reduce(loss.detach(), "mean").item(), "loss")
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    norm = accelerator.clip_grad_norm_(self._parameters, config.max_grad_norm)
                    if config.precision != "fp16":  # there the loss scaler finds and skips such steps
                        self._checked(norm.item(), "gradient")
                self._optimiser.step()
                self._optimiser.zero_grad()
        self._learning_rate.step()
        self.step += 1
        return total / config.gradient_accumulation, norm.item()

    def _loss(self, part: int) -> Tensor:
        """Mean loss, in fp32, of this process's share of one forward pass."""
        batch = self._batches.take(self._indices(part))
        weight = self._weights(batch.timesteps).to(self.device)
        noisy = self.schedule.noisy(batch.latents, batch.noise, batch.timesteps)
        target = self.schedule.target(batch.latents, batch.noise, batch.timesteps)
        prediction = self._model(noisy.to(self.device), batch.timesteps.to(self.device), batch.prompts.to(self.device))
        return (squared_error(prediction, target.to(self.device)) * weight).mean()

    def _weights(self, timesteps: Tensor) -> Tensor:
        gamma = self.config.min_snr_gamma
        return self.schedule.min_snr_weight(timesteps, gamma) if gamma else torch.ones(len(timesteps))

    @property
    def _examples_per_step(self) -> int:
        return self.config.batch_size * self.config.gradient_accumulation * self.accelerator.num_processes

    def _indices(self, part: int) -> range:
        """Global example indices of this process in one forward pass of the current step."""
        size = self.config.batch_size
        start = self.step * self._examples_per_step
        start += (part * self.accelerator.num_processes + self.accelerator.process_index) * size
        return range(start, start + size)

    def _checked(self, value: float, what: str) -> float:
        if not math.isfinite(value):
            if self.accelerator.is_main_process:
                self._checkpoint()
            raise Error(f"The {what} became {value} at step {self.step + 1} of {self.run.name}: {ADVICE}")
        return value

    # --- between steps ------------------------------------------------------------------------------------------

    def _intervals(self) -> None:
        """What falls due after a step. The checkpoint comes last: whatever it covers has been done by then."""
        if not self.accelerator.is_main_process:
            return
        config, last = self.config, self.step == self.config.steps
        if last or self.step % config.validate_every == 0:
            self._validate()
        asked = self.run.control().sample
        if last or self.step % config.sample_every == 0 or asked != self._samples_asked:
            self._samples_asked = asked
            self._preview()
        if last or self.step % config.checkpoint_every == 0:
            self._checkpoint()
            write_curve(self.run.metrics(), self.run.path / "loss.png")

    def _validate(self) -> None:
        if self._holdout is None or not self.accelerator.is_main_process:
            return
        self._denoiser.eval()
        result: HeldOutLoss = self._holdout.measure(self._denoiser, self.device)
        self._log({"holdout_loss": result.loss, "holdout_bands": result.bands})
        self.reporter.say(f"step {self.step}: held-out loss {result.loss:.4f}")

    def _preview(self) -> None:
        if self.accelerator.is_main_process:
            self._denoiser.eval()
            config = self.config
            draw_previews(self.base, config.sample_prompts, config.resolution, self.step, self.run.samples)

    def _asked_to_stop(self) -> bool:
        """Poll `control.json` and the keyboard; wait here while a pause is asked for."""
        control = self.run.control()
        while control.pause and not control.stop and not self._interrupted:
            self._status("paused", force=False)
            time.sleep(PAUSE_SECONDS)
            control = self.run.control()
        asked = torch.tensor(float(control.stop or self._interrupted), device=self.device)
        return self.accelerator.reduce(asked, "sum").item() > 0

    @contextmanager
    def _signals_noted(self) -> Iterator[None]:
        """Ctrl-C and a polite kill end the run after the step in progress; a second Ctrl-C ends it at once."""

        def note(number: int, _frame: object) -> None:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True
            self.reporter.say("stopping after this step and saving what was learned (again to stop at once)")

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[int, Any] = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    # --- files --------------------------------------------------------------------------------------------------

    def _restore(self) -> None:
        """Go on from the newest checkpoint, or from step 0 where there is none."""
        checkpoint = Checkpoint.newest(self.run.checkpoints)
        if checkpoint is not None:
            self.step = checkpoint.step
            with torch.no_grad():
                for path, layer in self.layers.items():
                    layer.down.copy_(checkpoint.weights[f"{path}.down"])
                    layer.up.copy_(checkpoint.weights[f"{path}.up"])
            for name, part in self._stateful().items():
                part.load_state_dict(checkpoint.states[name])
            self.reporter.say(f"resuming {self.run.name} at step {self.step} of {self.config.steps}")
        if self.accelerator.is_main_process:
            # without a checkpoint even the rows of step 0 are made again
            self.run.drop_metrics_beyond(self.step if checkpoint else -1)
        self._status("running")

    def _checkpoint(self) -> None:
        weights = {
            f"{path}.{part}": tensor
            for path, layer in self.layers.items()
            for part, tensor in (("down", layer.down), ("up", layer.up))
        }
        states = {name: part.state_dict() for name, part in self._stateful().items()}
        Checkpoint(self.step, weights, states).save(self.run.checkpoints)

    def _stateful(self) -> dict[str, Any]:
        parts = {"optimizer": self._optimiser, "schedule": self._learning_rate}
        return parts | ({"scaler": self.accelerator.scaler} if self.accelerator.scaler else {})

    def _save_adapter(self, *, finished: bool) -> Path:
        run = self.run
        if not self.accelerator.is_main_process:
            return run.adapter_file
        metadata = file_metadata(self.config, self.base, self.material, run.name, self.step, self._examples_per_step)
        adapter = Adapter(run.name, dict(updates_of(self.layers)), metadata=metadata, family=self.base.family)
        save_adapter(adapter, run.adapter_file, dtype=self.config.save_dtype)
        if not finished:
            return run.adapter_file
        target = Path(self.config.workspace) / "adapters" / run.adapter_file.name
        write_atomically(target, lambda path: shutil.copyfile(run.adapter_file, path))
        return target

    def _held_out_losses(self) -> tuple[float | None, float | None]:
        rows = [row["holdout_loss"] for row in self.run.metrics() if "holdout_loss" in row]
        return (rows[0], rows[-1]) if rows else (None, None)

    def _log(self, row: dict[str, Any]) -> None:
        if self.accelerator.is_main_process:
            self.run.append_metrics({"step": self.step, **row})

    def _status(self, state: str, **more: Any) -> None:
        if self.accelerator.is_main_process:
            memory = used_memory(self.device)
            self.run.write_status(state, self.step, self.config.steps, memory=memory, **more)

    def _rate(self) -> float:
        return self._learning_rate.get_last_lr()[0]


def layer_parameters(layer: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The trainable parameters of one layer."""
    return [p for p in layer.parameters() if p.requires_grad]
