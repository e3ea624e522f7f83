"""`train`: from a config to a finished run."""

import os
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list

from ..bases import Base, load_base
from ..devices import pick_device
from ..sampling.prompts import refuse_sdxl
from .config import ResolvedConfig, TrainConfig
from .defaults import arithmetic, resolve, with_sample_facts
from .material import Material, gather
from .previews import usual_prompts
from .progress import Reporter
from .run_folder import RunFolder, located, requested
from .trainer import TrainedRun, Trainer


def train(config: TrainConfig, *, resume: bool | str = False, quiet: bool = False) -> TrainedRun:
    """Train an adapter; all outputs go below `config.workspace`.

    `resume` is a run's folder or name, or True for the newest unfinished run of `config.name`; the result equals the
    uninterrupted run's bit for bit (CPU, same number of threads). Raises `Error` for what a user can mend.
    """
    old = RunFolder.to_resume(resume, config.name, Path(config.workspace)) if resume else None
    if old is not None:
        old.refuse_if_running()
        requested(config, old)
        settings: TrainConfig = old.config().model_copy(update={"workspace": config.workspace})
    else:
        settings = with_sample_facts(config)
    device = pick_device(config.device if old else settings.device)
    processes = _processes(device)
    reporter = Reporter(visible=not quiet and processes.is_main_process)
    material = gather(settings)
    for note in material.notes:
        reporter.warn(note)
    base = load_base(settings.base, prediction_type=settings.prediction_type)
    refuse_sdxl(base)
    reporter.say(f"base {base.path}: {base.family}, {base.prediction_type} ({base.prediction_reason})")
    if old is not None:
        run, resolved = old, ResolvedConfig(**settings.model_dump())
    else:
        run, resolved = _begin(settings, base, material, device, processes, reporter)
    reporter.say(arithmetic(resolved, len(material.train), material.repeated, processes.num_processes))
    trainer = Trainer(resolved, base, material, run, _accelerator(resolved, device), reporter)
    reporter.say(_size(trainer, base))
    result = trainer.train()
    reporter.say(_outcome(result))
    return result


def _processes(device: torch.device) -> PartialState:
    """The processes of this training: one, unless `accelerate launch` started several."""
    if device.index is not None:
        os.environ["ACCELERATE_TORCH_DEVICE"] = str(device)  # accelerate's only way to be told of cuda:1
    return PartialState(cpu=device.type == "cpu")


def _accelerator(config: ResolvedConfig, device: torch.device) -> Accelerator:
    # accelerate keeps its state for the life of a process; a second training may need another precision
    AcceleratorState._reset_state()
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision="fp16" if config.precision == "fp16" else "no",  # for its loss scaling; bf16 needs none
        gradient_accumulation_steps=config.gradient_accumulation,
    )


def _begin(
    config: TrainConfig,
    base: Base,
    material: Material,
    device: torch.device,
    processes: PartialState,
    reporter: Reporter,
) -> tuple[RunFolder, ResolvedConfig]:
    """A new run folder with everything chosen, by the main process; the others are told."""
    told: list[object] = [None, None]
    if processes.is_main_process:
        resolved, choices = resolve(config, base, device, material.repeated, processes.num_processes)
        for choice in choices:
            reporter.say(f"{choice.key} = {choice.value}  ({choice.reason})")
        places = {key: located(getattr(resolved, key)) for key in ("images", "holdout", "base")}
        prompts = resolved.sample_prompts or usual_prompts(material.holdout, material.train)
        resolved = resolved.model_copy(update=places | {"sample_prompts": prompts})
        told = [resolved.model_dump(), str(RunFolder.create(resolved).path)]
    if processes.num_processes > 1:
        broadcast_object_list(told)
    values, path = told
    return RunFolder(Path(str(path))), ResolvedConfig(**values)  # type: ignore[arg-type]


def _size(trainer: Trainer, base: Base) -> str:
    """How much is trained, and its share of the base."""
    adapted = sum(p.numel() for layer in trainer.layers.values() for p in (layer.down, layer.up))
    frozen = sum(p.numel() for model in (base.unet, *base.text_encoders) for p in model.parameters()) - adapted
    return (
        f"{len(trainer.layers)} modules, {adapted:,} trainable parameters, {adapted / frozen:.2%} of the base's "
        f"{frozen:,}; run folder {trainer.run.path}"
    )


def _outcome(result: TrainedRun) -> str:
    losses = ""
    if result.holdout_loss_before and result.holdout_loss_after is not None:
        change = result.holdout_loss_after / result.holdout_loss_before - 1
        losses = f"; held-out loss {result.holdout_loss_before:.4f} -> {result.holdout_loss_after:.4f} ({change:+.1%})"
    if result.state == "stopped":
        return (
            f"stopped at step {result.steps}: what was learned is in {result.adapter_path}; go on with "
            f"--resume {result.folder.name}{losses}"
        )
    return f"finished: {result.adapter_path}{losses}"
