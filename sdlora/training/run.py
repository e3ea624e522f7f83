"""`train`: from a config to a finished run."""

import os
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import GradientAccumulationPlugin, broadcast_object_list

from ..bases import Base, load_base
from ..devices import pick_device
from ..sampling.prompts import refuse_sdxl
from .config import ResolvedConfig, TrainConfig
from .defaults import arithmetic, refuse_impossible, resolve, with_sample_facts
from .material import Material, gather
from .progress import Reporter
from .run_folder import PLACES, RunFolder, located
from .trainer import TrainedRun, Trainer


def train(config: TrainConfig, *, resume: bool | str = False, quiet: bool = False) -> TrainedRun:
    """Train an adapter; all outputs go below `config.workspace`.

    `resume` is a run's folder or name, or True for the newest unfinished run of `config.name`; the result equals the
    uninterrupted run's bit for bit (CPU, same number of threads). Raises `Error` for what a user can mend.
    """
    old = RunFolder.to_resume(resume, config.name, Path(config.workspace)) if resume else None
    settings = _to_go_on(old, config) if old else with_sample_facts(config)
    device = pick_device(settings.device)
    processes = _processes(device)
    reporter = Reporter(visible=not quiet and processes.is_main_process)
    material = gather(settings)
    for note in material.notes:
        reporter.warn(note)
    base = load_base(settings.base, prediction_type=settings.prediction_type)
    refuse_sdxl(base)
    reporter.say(f"base {base.path}: {base.family}, {base.prediction_type} ({base.prediction_reason})")
    if old is not None and isinstance(settings, ResolvedConfig):
        run, resolved = old, settings
        refuse_impossible(resolved.resolution, resolved.precision, base, device)
    else:
        run, resolved = _begin(settings, base, material, device, processes, reporter)
    reporter.say(arithmetic(resolved, len(material.train), material.repeated, processes.num_processes))
    trainer = Trainer(resolved, base, material, run, _accelerator(resolved, device), reporter)
    reporter.say(_size(trainer, base))
    result = trainer.train()
    reporter.say(_outcome(result))
    return result


def _to_go_on(run: RunFolder, config: TrainConfig) -> ResolvedConfig:
    """The settings of an unfinished run that nobody trains. Raises `Error` where it can't be gone on with."""
    run.refuse_if_running()
    settings = run.config_to_resume(config)
    run.forget_requests()
    return settings


def _processes(device: torch.device) -> PartialState:
    """The processes of this training: one, unless `accelerate launch` started several."""
    # accelerate keeps its state for the life of a process; a second training may need another device or precision
    alone = PartialState._shared_state.get("num_processes", 1) == 1
    AcceleratorState._reset_state(reset_partial_state=alone)
    os.environ.pop("ACCELERATE_TORCH_DEVICE", None)
    if device.index is not None:
        os.environ["ACCELERATE_TORCH_DEVICE"] = str(device)  # accelerate's only way to be told of cuda:1
    return PartialState(cpu=device.type == "cpu")


def _accelerator(config: ResolvedConfig, device: torch.device) -> Accelerator:
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision="fp16" if config.precision == "fp16" else "no",  # for its loss scaling; bf16 needs none
        # given as a plugin, because the plain number loses against an environment variable
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=config.gradient_accumulation),
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
        resolved, choices = resolve(config, base, material, device, processes.num_processes)
        for choice in choices:
            reporter.say(f"{choice.key} = {choice.value}  ({choice.reason})")
        resolved = resolved.model_copy(update={key: located(key, getattr(resolved, key)) for key in PLACES})
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
