"""The optimisers by name, and what each of them needs to work as it is meant to."""

import inspect
import io
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import torch
from torch.optim import Optimizer

from ..errors import Error
from .by_block import value_at
from .config import ResolvedConfig
from .injection import Parts


@dataclass(frozen=True)
class Kind:
    """Where an optimiser's class is and which arguments it has unless others are given; `extra` is the part of the
    package that brings its library. `slower` is what AdamW's learning rate is divided by, None where 1.0 is the rate;
    `averages`: it makes an average of the weights itself, and wants a constant learning rate for it."""

    place: str
    extra: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    slower: float | None = 1.0
    averages: bool = False


KINDS = {
    "adamw": Kind("torch.optim.AdamW"),
    "adamw8bit": Kind("bitsandbytes.optim.AdamW8bit", "quant"),
    # By itself Adafactor's step is a share of what a weight is, and an update starts at zero: with 1 for the least that
    # a weight counts as, the learning rate means what it means for AdamW.
    "adafactor": Kind("torch.optim.Adafactor", arguments={"eps": [None, 1.0]}),
    "lion": Kind("sdlora.training.lion.Lion", slower=5.0),
    # As its authors recommend for diffusion models; and with d0 = 1e-6, their usual, half of a run of 120 steps on mini
    # was over before anything moved.
    "prodigy": Kind(
        "prodigyopt.Prodigy",
        "optimisers",
        arguments={"safeguard_warmup": True, "use_bias_correction": True, "d0": 1e-5},
        slower=None,
    ),
    "schedule-free": Kind("schedulefree.AdamWScheduleFree", "optimisers", averages=True),
}


def kind_of(name: str) -> Kind:
    """One of the known kinds, or a class by its dotted path. Raises `Error` for a name that is neither."""
    if name in KINDS:
        return KINDS[name]
    if "." not in name:
        near = get_close_matches(name, KINDS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"use {', '.join(KINDS)}, or a class's dotted path."
        raise Error(f"There is no optimiser {name!r}: {hint}")
    return Kind(name)


def suited(name: str) -> Iterator[tuple[str, Any, str]]:
    """(setting, value, reason) for all but learning rates that is not as AdamW has it."""
    kind = kind_of(name)
    if kind.slower is None:
        yield "schedule", "constant", f"{name} sets the pace itself"
        yield "warmup", 0, f"{name} begins with tiny steps, and a warm-up would mislead its estimate"
    elif kind.slower != 1:
        yield "weight_decay", 0.01 * kind.slower, "with the learning rate it makes the same decay as AdamW's"
    if kind.averages:
        yield "schedule", "constant", f"{name} averages the weights instead (arXiv:2405.15682)"


def make_optimiser(parts: Parts, config: ResolvedConfig, device: torch.device) -> Optimizer:
    """Parameter groups by learning rate: the UNet's, then the text encoder's, then that of learned tokens.

    Raises `Error` for an optimiser that is not there, and for arguments that it does not take.
    """
    rates = {"unet": config.learning_rate, "text_encoder": config.text_encoder_learning_rate}
    by_rate: dict[tuple[str, float, bool], list[torch.Tensor]] = {}
    for component, usual in rates.items():
        for path, part in parts.items():
            rate = value_at(path, config.block_learning_rates)
            rate = usual if rate is None else rate
            for name, weight in part.weights.items() if path.startswith(component) else ():
                own = rate * config.lora_plus if name == "up" else rate
                by_rate.setdefault((component, own, name == "magnitude"), []).append(weight)
    groups: list[dict[str, Any]] = [
        # DoRA's magnitudes begin as lengths of the base's own weights, which are not to shrink
        {"params": weights, "lr": rate} | ({"weight_decay": 0.0} if lengths else {})
        for (_, rate, lengths), weights in by_rate.items()
    ]
    if tokens := [
        weight for path, part in parts.items() if path.startswith("tokens") for weight in part.weights.values()
    ]:
        groups.append({"params": tokens, "lr": config.token_learning_rate, "weight_decay": 0.0})  # zero is no word
    return made(groups, config, device)


def training_mode(optimiser: Optimizer) -> None:
    """An optimiser that averages the weights puts those into them that are trained on."""
    if averages_itself(optimiser):
        optimiser.train()  # type: ignore[attr-defined]


def averages_itself(optimiser: Optimizer) -> bool:
    """Whether it has two modes, as schedulefree's have: weights to train on, and their average."""
    return callable(getattr(optimiser, "train", None)) and callable(getattr(optimiser, "eval", None))


def shown_rate(optimiser: Optimizer) -> float:
    """The first group's learning rate; Prodigy's is a factor of what it has estimated."""
    group = optimiser.param_groups[0]
    return float(group["lr"] * group.get("d", 1.0))


def made(groups: list[dict[str, Any]], config: ResolvedConfig, device: torch.device) -> Optimizer:
    """The optimiser for these parameter groups. Raises `Error` as `make_optimiser` does."""
    kind = kind_of(config.optimiser)
    known = inspect.signature(found := _class(config.optimiser, kind)).parameters
    arguments: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    arguments = {key: value for key, value in arguments.items() if key in known}
    if kind is KINDS["adamw"] and not {"foreach", "capturable", "differentiable"} & set(config.optimiser_args):
        arguments["fused"] = device.type != "mps"
    arguments |= {**kind.arguments, **config.optimiser_args}
    try:
        with redirect_stdout(io.StringIO()):  # Prodigy prints that it has a weight decay; stdout is for results
            return found(groups, **arguments)
    except (TypeError, ValueError, RuntimeError) as problem:
        raise Error(f"The optimiser {config.optimiser} can't be made ({problem}): correct optimiser_args") from None


def _class(name: str, kind: Kind) -> type[Optimizer]:
    module, _, attribute = kind.place.rpartition(".")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, OSError) as problem:  # bitsandbytes raises either where it has no library
        if kind.extra:
            remedy = f"install it with  pip install 'sdlora[{kind.extra}]'"
            raise Error(f"The optimiser {name} needs {module.partition('.')[0]}: {remedy}") from problem
        raise Error(f"There is no optimiser {name} ({problem}): give a class that can be imported") from problem
    if not (inspect.isclass(found) and issubclass(found, Optimizer)):
        raise Error(f"{name} is no optimiser: give a class that is one of torch's Optimizer")
    return found
