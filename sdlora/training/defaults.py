"""What `auto` means: each choice by family, device and image count, with its reason.

An explicit setting wins over the preset, the preset over what is computed here.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..bases import Base
from ..data.sample import sample_facts
from ..errors import Error
from ..precision import fastest_dtype
from ..resources import shipped
from ..sampling.memory import free_bytes, wants_tiles
from . import quantised
from .attention import fastest_attention
from .config import ResolvedConfig, TrainConfig, read_toml
from .material import Material
from .optimiser import suited
from .previews import usual_prompts
from .rehearsal import rehearse
from .sample_prompts import read_lines, recipes_of
from .targets import select
from .trackers import refuse_missing

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

USUAL_RATES = {
    "learning_rate": (1e-4, "usual for LoRA with AdamW on full-size bases"),
    "text_encoder_learning_rate": (5e-5, "half of the UNet's: the text encoder overfits first"),
}


@dataclass(frozen=True)
class Choice:
    """One setting that was chosen, and why."""

    key: str
    value: Any
    reason: str


def preset_file(preset: str, base: Base) -> Path:
    """`configs/mini/style.toml` for the preset `style` on mini; a path to a TOML file is taken as it is."""
    group = "mini" if base.geometry == "mini" else base.family
    path = shipped("configs") / group / f"{preset}.toml"
    if path.is_file():
        return path
    if preset.endswith(".toml"):
        return Path(preset).expanduser()
    known = sorted(file.stem for file in path.parent.glob("*.toml"))
    raise Error(f"There is no preset {preset!r} for {group}: choose {' or '.join(known)}, or give a TOML file")


def resolve(
    config: TrainConfig, base: Base, material: Material, device: torch.device, processes: int
) -> tuple[ResolvedConfig, list[Choice]]:
    """The config with nothing left to choose.

    Raises `Error` for settings that can't work together, or on this base or device.
    """
    values = {k: v for k in config.model_fields_set if (v := getattr(config, k)) != "auto"} | {"preset": config.preset}
    if "steps" in values and values.get("epochs") is not None:
        raise Error(f"steps = {config.steps} and epochs = {config.epochs:g} are both given: give one of them")
    if config.time_budget != "auto" and config.preset != "auto":
        raise Error(f"time_budget = {config.time_budget} is for the search of preset = auto: leave it out, or set that")
    choices: list[Choice] = []

    def fill(found: Iterable[Choice]) -> None:
        for choice in found:
            if choice.key not in values:
                values[choice.key] = choice.value
                choices.append(choice)

    preset = list(_preset(config, base))
    if not any([config.trigger, *(choice.value for choice in preset if choice.key == "trigger")]):
        fill([Choice("prior_preservation", 0.0, "off: without a trigger nothing tells what should stay as it is")])
    fill(_by_optimiser(values, preset))
    fill(preset)
    fill(_computed(values, base, device))
    fill(_buckets(values, base))
    fill(_tiles(values, base, device))
    refuse_impossible(values["resolution"], values["precision"], base, device)
    select(base.modules(), values["targets"])  # raises for a target that is nowhere, before anything is made
    fill(_lengths(values, material.repeated * (1 + len(values.get("more_resolutions", ()))), processes))
    fill(_attention(values, base, device))
    fill([Choice("sample_prompts", usual_prompts(material.holdout, material.train), "captions, held out if possible")])
    recipes_of(read_lines(values["sample_prompts"]), base, values["resolution"])  # raises for what can't be drawn
    refuse_missing(values.get("trackers", []))
    resolved = ResolvedConfig(**values)
    rehearse(resolved, device)
    if resolved.quantised and (reason := quantised.obstacle(device, PRECISIONS[resolved.precision])):
        raise Error(f"quantised = true can't be: {reason}")
    return resolved, choices


def refuse_impossible(resolution: int, precision: str, base: Base, device: torch.device) -> None:
    """Raises `Error` for a resolution that the base's UNet can't halve, and for fp16 where its loss can't be scaled."""
    factor = _halvings(base)
    if resolution % factor:
        raise Error(f"The setting resolution = {resolution} can't be used: give a multiple of {factor}")
    if precision == "fp16" and device.type != "cuda":
        raise Error(f"The setting precision = fp16 needs a CUDA GPU, and this is {device}: use fp32 or bf16")


def _preset(config: TrainConfig, base: Base) -> Iterator[Choice]:
    """What the preset says; an unknown key in it is an `Error` as it is anywhere."""
    path = preset_file(config.preset, base)
    source = f"preset {config.preset}" if config.preset == path.stem else str(path)
    keys = read_toml(path)
    own = TrainConfig.load(path, **{key: "preset" for key in ("name", "images") if key not in keys})
    length = {"steps", "epochs"}  # given one of them, the preset's other must not override it
    skipped = length if any(getattr(config, key) not in (None, "auto") for key in length) else set()
    for key in keys:
        if key not in skipped and (value := getattr(own, key)) != "auto":
            yield Choice(key, value, source)


def _by_optimiser(values: dict[str, Any], preset: list[Choice]) -> Iterator[Choice]:
    """What another optimiser than AdamW needs otherwise. It goes before a preset that was written for another one."""
    given = {choice.key: choice.value for choice in preset}
    before = given.get("optimiser", "adamw")
    name = values.get("optimiser", before)
    usual = {key: rate for key, (rate, _) in USUAL_RATES.items()}
    usual |= {key: given[key] for key in usual if before == "adamw" and key in given}
    for key, value, reason in suited(name, values, usual):
        if name != before or key not in given:
            yield Choice(key, value, reason)


def _computed(values: dict[str, Any], base: Base, device: torch.device) -> Iterator[Choice]:
    """Everything that does not depend on the number of steps."""
    on_cpu = device.type == "cpu"
    yield Choice("device", str(device), "the first of CUDA, MPS and CPU that is there")
    yield Choice("resolution", base.resolution, f"what {base.path} was trained at")
    yield Choice("rank", 16, "enough for a style in our measurements; more only makes the file larger")
    yield Choice("alpha", 16.0, "alpha = rank: the update is scaled by 1")
    yield Choice("targets", ["attention", "text_attention"], "the layers that carry a style in every study")
    yield Choice("prior_preservation", 0.0, "off: it takes half as long again, and needs a trigger")
    for key, (rate, reason) in USUAL_RATES.items():
        yield Choice(key, rate, reason)
    yield Choice("schedule", "cosine", "ends at zero, where the noise of single steps is gone")
    yield Choice("weight_decay", 0.01, "AdamW's usual")
    yield Choice("batch_size", 1 if on_cpu else 2, "fits the memory that is usual for this device")
    yield Choice("caption_dropout", 0.05, "keeps guidance working; 5 to 10 % is usual")
    yield Choice("flip", False, "text, faces and hands are not symmetrical")
    if "precision" not in values:
        fastest = {v: k for k, v in PRECISIONS.items()}[fastest_dtype(device)]
        reason = "the fastest for the frozen base on this device, measured" if on_cpu else "fastest here"
        yield Choice("precision", fastest, reason)
    for key in ("gradient_checkpointing", "quantised"):
        yield Choice(key, False, "unless memory is short")


def _tiles(values: dict[str, Any], base: Base, device: torch.device) -> Iterator[Choice]:
    """By what a GPU will have left beside the base."""
    side = max(values["resolution"], *values.get("more_resolutions", ()), 0)
    weights = sum(p.numel() for network in (base.unet, *base.text_encoders) for p in network.parameters())
    free = free_bytes(device)
    left = None if free is None else free - weights * PRECISIONS[values["precision"]].itemsize
    yield Choice("vae_tiles", wants_tiles(side * side, left), f"{side} px, and what is free on {device}")


def _buckets(values: dict[str, Any], base: Base) -> Iterator[Choice]:
    side, factor = values["resolution"], _halvings(base)
    yield Choice("bucket_step", factor, f"what {base.path}'s UNet can halve to the end")
    yield Choice("bucket_min", max(factor, side // 2), "half of the resolution")
    yield Choice("bucket_max", 2 * side, "twice the resolution")


def _halvings(base: Base) -> int:
    """Sides that are multiples of so many pixels stay whole through VAE and UNet."""
    return int(base.vae_factor * 2 ** (len(base.unet.config["block_out_channels"]) - 1))


def _attention(values: dict[str, Any], base: Base, device: torch.device) -> Iterator[Choice]:
    """Measured in the precision, batch and size that were chosen; not at all where the kernel was given."""
    if "attention" not in values:
        side, dtype = values["resolution"] // base.vae_factor, PRECISIONS[values["precision"]]
        name, reason = fastest_attention(base.unet, values["batch_size"], side, dtype, device)
        yield Choice("attention", name, reason)


def _lengths(values: dict[str, Any], images: int, processes: int) -> Iterator[Choice]:
    """Steps, and the intervals that follow from them. `images` counts repeats."""
    batch = values["batch_size"] * values.get("gradient_accumulation", 1) * processes
    per_epoch = images / batch
    if (epochs := values.get("epochs")) and "steps" not in values:
        steps = max(1, math.ceil(epochs * per_epoch))
        yield Choice("steps", steps, f"{epochs:g} epochs × {images} images ÷ {batch} a step")
    elif "steps" in values:
        steps = values["steps"]
    else:
        steps = min(max(round(80 * per_epoch), 400), 3000)
        yield Choice("steps", steps, f"80 epochs of {images} images ÷ {batch} a step, between 400 and 3,000")
    if values["schedule"] == "piecewise_constant":
        yield Choice("warmup", 0, "the schedule's rules say everything")
    yield Choice("warmup", min(100, steps // 20), "a twentieth of the steps, 100 at the most")
    quarter = max(1, math.ceil(steps / 4))
    for key, what in (
        ("checkpoint_every", "checkpoints"),
        ("validate_every", "measurements"),
        ("sample_every", "samples"),
    ):
        yield Choice(key, quarter, f"four {what} in a run")


def arithmetic(config: ResolvedConfig, images: int, repeats: int, processes: int) -> str:
    """The run's length spelled out."""
    batch = config.batch_size * config.gradient_accumulation * processes
    parts = [f"batch {config.batch_size}"]
    parts += [f"accumulation {config.gradient_accumulation}"] if config.gradient_accumulation > 1 else []
    parts += [f"{processes} processes"] if processes > 1 else []
    counted = f"{images} images" + (f" ({repeats} with repeats)" if repeats != images else "")
    return (
        f"{counted}, {' × '.join(parts)} = {batch} a step; {config.steps} steps × {batch} = "
        f"{config.steps * batch} examples = {config.steps * batch / repeats:.1f} epochs"
    )


def with_sample_facts(config: TrainConfig) -> TrainConfig:
    """For `sample:NAME`, its trigger and the preset of its kind, where these were not given."""
    sample = sample_facts(config.images)
    if sample is None:
        return config
    facts = {"trigger": sample.trigger, "preset": sample.kind}
    missing = {k: v for k, v in facts.items() if k not in config.model_fields_set}
    return config.model_copy(update=missing)
