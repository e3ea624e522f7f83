"""`train`: from a config to a finished run."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, GradientAccumulationPlugin, broadcast_object_list

from ..bases import Base
from ..devices import pick_device
from ..errors import Error
from ..sampling.text_encoding import unread_layers
from .autopilot.pilot import Autopilot, refuse_search
from .autopilot.questions import roomiest, searched
from .checkpoints import Checkpoint
from .config import ResolvedConfig, TrainConfig
from .dataset_record import what_changed, write_record
from .defaults import refuse_impossible, resolve, with_sample_facts
from .device_lock import hold
from .failures import told
from .finding import run_to_resume
from .interrupts import Interrupts
from .lengths import arithmetic
from .material import Material, gather
from .memory_ladder import explicit
from .merged import described, merge_into, note_merged, refuse_changed
from .preflight import fitted
from .prepared import prepare
from .progress import Reporter
from .reading import read_base
from .report.settings import write_choices
from .run_folder import PLACES, RunFolder, located
from .targets import select
from .trainer import TrainedRun, Trainer
from .without_effect import without_effect


def train(config: TrainConfig, *, resume: bool | str = False, quiet: bool = False) -> TrainedRun:
    """Train an adapter; all outputs go below `config.workspace`.

    `resume` is a run's folder or name, or True for the newest unfinished run of `config.name`; the result equals the
    uninterrupted run's bit for bit (CPU, same number of threads). Raises `Error` for what a user can mend.
    """
    old = run_to_resume(resume, config.name, Path(config.workspace)) if resume else None
    settings = _to_go_on(old, config) if old else with_sample_facts(config)
    device = pick_device(settings.device)
    processes = _processes(device)
    reporter = Reporter(visible=not quiet and processes.is_main_process)
    material = gather(settings)  # what is wrong with it is told before there is any waiting
    with _held(device, processes, f"training {old.name if old else settings.name}", reporter) as waited:
        if waited:  # meanwhile another process may have taken up the run, or somebody changed the images
            settings = _to_go_on(old.unless_finished(), config) if old else settings
            material = gather(settings)
        for note in material.notes:
            reporter.warn(note)
        return _trained(old, settings, config, material, device, processes, reporter)


def _trained(
    old: RunFolder | None,
    settings: TrainConfig,
    asked: TrainConfig,
    material: Material,
    device: torch.device,
    processes: PartialState,
    reporter: Reporter,
) -> TrainedRun:
    began = time.monotonic()
    base = read_base(settings, device, processes.num_processes)
    reporter.say(f"base {base.path}: {base.family}, {base.prediction_type} ({base.prediction_reason})")
    if merged := merge_into(base, settings):
        reporter.say(f"merged into it: {described(settings.merged)}")
    if old is not None and isinstance(settings, ResolvedConfig):
        run, resolved = old, settings
        refuse_changed(run, merged)
        refuse_impossible(resolved.resolution, resolved.precision, base, device)
        if changes := what_changed(run, material):
            reporter.warn(changes)
    else:
        run, resolved = _begin(settings, asked, base, material, device, processes, reporter)
    reporter.say(arithmetic(resolved, len(material.train), material.repeated, processes.num_processes))
    with _at_work(run, resolved, processes):
        if old is None and processes.is_main_process:
            write_record(run, material)
            note_merged(run, merged)
        accelerator = _accelerator(resolved, base, device)
        ready = prepare(resolved, base, material, run, accelerator, reporter)
        interrupts = Interrupts(reporter)
        if resolved.preset == "auto":
            resolved = Autopilot(resolved, ready, run, accelerator, reporter, interrupts, began).choose()
        trainer = Trainer(resolved, ready, run, accelerator, reporter, interrupts)
        reporter.say(_size(trainer, base))
        result = trainer.train()
    reporter.say(_outcome(result))
    return result


@contextmanager
def _held(device: torch.device, processes: PartialState, what: str, reporter: Reporter) -> Iterator[bool]:
    """The device for this training alone, or all devices of its processes on this machine; whether the main process
    had to wait for them."""
    if not processes.is_local_main_process:
        processes.wait_for_everyone()
        yield False
        return
    several = device.type == "cuda" and processes.num_processes > 1
    here = int(os.environ.get("LOCAL_WORLD_SIZE", processes.num_processes))  # of several machines, each holds its own
    devices = [f"cuda:{index}" for index in range(here)] if several else str(device)
    with hold(devices, what, tell=reporter.say) as waited:
        processes.wait_for_everyone()
        yield waited and processes.is_main_process


@contextmanager
def _at_work(run: RunFolder, config: ResolvedConfig, processes: PartialState) -> Iterator[None]:
    """The run's status says that it is being worked on, and what came of it."""
    if not processes.is_main_process:
        yield
        return
    with run.at_work(Checkpoint.newest_step(run.checkpoints) or 0, config.steps), told(run):
        yield


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
    # the first alone waits for its turn, measures and draws, while the others wait for it: for hours, if need be
    return PartialState(cpu=device.type == "cpu", timeout=timedelta(days=7))


def _accelerator(config: ResolvedConfig, base: Base, device: torch.device) -> Accelerator:
    idle = any(path.startswith(unread_layers(base)) for path in select(base.modules(), config.targets))
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision="fp16" if config.precision == "fp16" else "no",  # for its loss scaling; bf16 needs none
        # given as a plugin, because the plain number loses against an environment variable
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=config.gradient_accumulation),
        # it would wait for the gradients of layers that have none
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=idle)],
    )


def _begin(
    config: TrainConfig,
    asked: TrainConfig,
    base: Base,
    material: Material,
    device: torch.device,
    processes: PartialState,
    reporter: Reporter,
) -> tuple[RunFolder, ResolvedConfig]:
    """A new run folder with everything chosen, by the main process; the others are told, also that it can't be."""
    told: list[Any] = [None]
    if processes.is_main_process:
        try:
            new = _new_run(config, asked, base, material, device, processes.num_processes, reporter)
        except Error as problem:
            if processes.num_processes == 1:
                raise
            told = [str(problem)]
        else:
            told = [(str(new[0].path), new[1].model_dump())]
    if processes.num_processes > 1:
        broadcast_object_list(told)
    if isinstance(told[0], str):
        raise Error(told[0])
    path, values = told[0]
    return RunFolder(Path(path)), ResolvedConfig(**values)


def _new_run(
    config: TrainConfig,
    asked: TrainConfig,
    base: Base,
    material: Material,
    device: torch.device,
    processes: int,
    reporter: Reporter,
) -> tuple[RunFolder, ResolvedConfig]:
    """Choose what is open, say so, and write it down."""
    resolved, choices = resolve(config, base, material, device, processes)
    for choice in choices:
        reporter.say(f"{choice.key} = {choice.value}  ({choice.reason})")
    given = explicit(_explicit(asked))
    for sentence in without_effect(resolved, given, base, material):
        reporter.warn(sentence)
    if resolved.preset == "auto":
        refuse_search(material, processes)
    fit = fitted(roomiest(resolved, given, base), given, base, material, device)
    for note in fit.notes:
        reporter.say(note)
    changed = {choice.key for choice in fit.choices}
    choices = [choice for choice in choices if choice.key not in changed] + fit.choices
    kept = {key: located(key, getattr(resolved, key)) for key in PLACES} | dict(searched(resolved))
    resolved = fit.config.model_copy(update=kept)
    run = RunFolder.create(resolved)
    run.note_asked(_explicit(asked))
    write_choices(run, choices)
    return run, resolved


def _explicit(asked: TrainConfig) -> dict[str, object]:
    """The settings that were given, as a TOML file holds them; where the workspace is, the run's own place says."""
    given = asked.model_dump(include=asked.model_fields_set - {"workspace"}, exclude_none=True)
    return {key: located(key, value) for key, value in given.items()}


def _size(trainer: Trainer, base: Base) -> str:
    """How much is trained, and its share of the base."""
    adapted = sum(p.numel() for part in trainer.parts.values() for p in part.weights.values())
    frozen = sum(p.numel() for model in (base.unet, *base.text_encoders) for p in model.parameters()) - adapted
    return (
        f"{len(trainer.parts)} modules, {adapted:,} trainable parameters, {adapted / frozen:.2%} of the base's "
        f"{frozen:,}; run folder {trainer.run.path}"
    )


def _outcome(result: TrainedRun) -> str:
    losses = ""
    if result.holdout_loss_before and result.holdout_loss_after is not None:
        change = result.holdout_loss_after / result.holdout_loss_before - 1
        losses = f"; held-out loss {result.holdout_loss_before:.4f} -> {result.holdout_loss_after:.4f} ({change:+.1%})"
    if result.state == "stopped":
        step = RunFolder(result.folder).last_step
        what = "what was learned" if result.steps == step else f"the adapter of step {result.steps}"
        go_on = f"go on with --resume {result.folder.name}"
        return f"stopped at step {step}: {what} is in {result.adapter_path}; {go_on}{losses}"
    return f"finished: {result.adapter_path}{losses}"
