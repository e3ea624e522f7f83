"""What `auto` means: each choice by family, device and image count, with its reason.

An explicit setting wins over the preset, the preset over what is computed here.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from ..bases import Base
from ..data.sample import sample_facts
from ..errors import Error
from ..precision import PRECISIONS, fastest_dtype
from ..resources import shipped
from ..sampling.memory import free_bytes, wants_tiles
from . import quantised
from .attention import fastest_attention
from .by_block import refuse_unknown
from .by_kind import refuse_unfit
from .choice import Choice
from .config import ResolvedConfig, TrainConfig, read_toml
from .learned_tokens import start_words, tokens_in
from .lengths import lengths
from .material import Material
from .previews import usual_prompts
from .rehearsal import rehearse
from .sample_prompts import read_lines, recipes_of
from .suiting import USUAL_RATES, USUAL_TARGETS, by_kind, by_optimiser, by_start, kind_of, rates
from .targets import layers_of
from .trackers import refuse_missing

RANK = 16


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
    kind = kind_of(values, preset)
    # a run's config.toml says what is as usual, too, and may be trained again
    usual = {"rank": RANK, "alpha": float(RANK)} | {choice.key: choice.value for choice in preset}
    refuse_unfit(kind, {key: value for key, value in values.items() if usual.get(key) != value})
    fill(_prior({choice.key: choice.value for choice in preset} | values, values))
    fill(by_start({choice.key: choice.value for choice in preset} | values))
    fill(rates(values, preset))
    fill(by_optimiser(values, preset))
    fill(by_kind(kind, preset))
    fill(preset)
    fill(_computed(values, base, device))
    fill(_buckets(values, base))
    fill(_tiles(values, base, device))
    refuse_impossible(values["resolution"], values["precision"], base, device)
    trained = layers_of(base.modules(), kind, values["targets"])  # raises for a target that is nowhere
    for key in ("block_ranks", "block_learning_rates"):
        refuse_unknown(key, values.get(key, {}), trained)
    fill(_tokens(values, base))
    fill(lengths(values, material.repeated * (1 + len(values.get("more_resolutions", ()))), processes))
    fill(_attention(values, base, device))
    fill([Choice("sample_prompts", usual_prompts(material.holdout, material.train), "captions, held out if possible")])
    recipes_of(read_lines(values["sample_prompts"]), base, values["resolution"])  # raises for what can't be drawn
    refuse_missing(values.get("trackers", []))
    resolved = ResolvedConfig(**values | {"epochs": None})  # which have become steps
    if resolved.timestep_min >= (steps := int(base.scheduler_config.get("num_train_timesteps", 1000))):
        raise Error(f"timestep_min = {resolved.timestep_min} leaves nothing: this base has timesteps up to {steps - 1}")
    rehearse(resolved, device)
    bits, dtype = resolved.quantised, PRECISIONS[resolved.precision]
    if bits != "off" and (reason := quantised.obstacle(bits, device, dtype)):
        raise Error(f"quantised = {bits} can't be: {reason}")
    return resolved, choices


def _prior(said: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[Choice]:
    """The weight of the prior where class images are wanted (`said` is by the preset too), and where nothing can be."""
    key = "prior_preservation"
    if said.get("class_prompt") or said.get("class_images"):
        if given.get(key) == 0:
            raise Error(f"class_prompt or class_images is given, and {key} = 0 switches it off: leave one of them out")
        yield Choice(key, 1.0, "class images count as much as yours, as in DreamBooth")
    elif not said.get("trigger"):
        yield Choice(key, 0.0, "off: without a trigger nothing tells what should stay as it is")


def _tokens(values: Mapping[str, Any], base: Base) -> Iterator[Choice]:
    """How many vectors a learned token has; settings of one that is not trained are refused."""
    none = {"token_vectors": 1, "token_start": None}  # which a run's config.toml says, too
    given = [key for key, usual in none.items() if values.get(key, usual) not in (usual, None)]
    if "tokens" in values["targets"]:
        words = start_words(values.get("trigger"), values.get("token_start"))
        yield Choice("token_vectors", tokens_in(base, words), f"as many as the tokens that {words!r} has now")
    elif given:
        raise Error(f"{given[0]} is given, but targets has no tokens: add tokens to targets, or leave {given[0]} out")
    else:
        yield Choice("token_vectors", 1, "none is trained")


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
    skipped |= {"min_snr_gamma"} if config.debiased else set()  # another way to weigh the loss
    for key in keys:
        if key not in skipped and (value := getattr(own, key)) != "auto":
            yield Choice(key, value, source)


def _computed(values: dict[str, Any], base: Base, device: torch.device) -> Iterator[Choice]:
    """Everything that does not depend on the number of steps."""
    on_cpu = device.type == "cpu"
    yield Choice("device", str(device), "the first of CUDA, MPS and CPU that is there")
    yield Choice("resolution", base.resolution, f"what {base.path} was trained at")
    yield Choice("rank", RANK, "enough for a style in our measurements; more only makes the file larger")
    yield Choice("alpha", float(RANK), "alpha = rank: the update is scaled by 1")
    yield Choice("targets", USUAL_TARGETS, "the layers that carry a style in every study")
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
    for key, off in (("gradient_checkpointing", False), ("quantised", "off")):
        yield Choice(key, off, "unless memory is short")


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


def with_sample_facts(config: TrainConfig) -> TrainConfig:
    """For `sample:NAME`, its trigger and the preset of its kind, where these were not given."""
    sample = sample_facts(config.images)
    if sample is None:
        return config
    facts = {"trigger": sample.trigger, "preset": sample.kind}
    missing = {k: v for k, v in facts.items() if k not in config.model_fields_set}
    return config.model_copy(update=missing)
