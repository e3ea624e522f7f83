"""The ladder that a training climbs down until it fits: each rung takes less memory, and costs something else."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch

from ..bases import Base
from ..precision import PRECISIONS
from . import quantised
from .config import ResolvedConfig
from .optimiser import made

MARGIN = 1.1  # what is free must be so many times the figure: previews, validation and fragments take some as well
WORTH_IT = 0.02  # share of the memory that a rung must save


@dataclass(frozen=True)
class Place:
    """Where a run is trained: what stands in the way of a rung, and what it could save, depend on it.

    `asked` are the names of the settings that the user gave, `parameters` counts the trained ones.
    """

    base: Base
    device: torch.device
    asked: Collection[str] = ()
    parameters: int = 0


@dataclass(frozen=True)
class Rung:
    """One way to need less. `changes` of settings, empty where that is how it is already; `obstacle` is why it can't be
    here, if so. `saves` is what it could save at most in bytes, infinite where only measuring tells. A rung that is not
    `on_the_way` can only be taken before the first step."""

    cost: str
    changes: Callable[[ResolvedConfig], dict[str, Any]]
    obstacle: Callable[[ResolvedConfig, Place], str | None]
    saves: Callable[[Place], float] = lambda place: math.inf
    on_the_way: bool = True

    def skipped(self, config: ResolvedConfig, place: Place) -> str | None:
        """Why it can't be taken, in words; None where it can. An explicit setting is never overridden, but that a
        batch may be taken in parts, which is the same batch."""
        for key in self.changes(config):
            if key in place.asked and key not in ("batch_size", "gradient_accumulation"):
                return f"{key} = {_shown(getattr(config, key))} was asked for"
        return self.obstacle(config, place)


def _checkpointed(config: ResolvedConfig) -> dict[str, Any]:
    return {} if config.gradient_checkpointing else {"gradient_checkpointing": True}


def _in_parts(config: ResolvedConfig) -> dict[str, Any]:
    size = config.batch_size
    return {"batch_size": 1, "gradient_accumulation": size * config.gradient_accumulation} if size > 1 else {}


def _eight_bit(config: ResolvedConfig) -> dict[str, Any]:
    return {} if config.optimiser == "adamw8bit" else {"optimiser": "adamw8bit"}


def _no_eight_bit(config: ResolvedConfig, place: Place) -> str | None:
    if config.optimiser != "adamw":
        return f"{config.optimiser} has no form with 8 bits here"
    if find_spec("bitsandbytes") is None:
        return f"bitsandbytes is not installed ({quantised.INSTALL})"
    weight = torch.nn.Parameter(torch.ones(64, 128, device=place.device))  # smaller ones stay in 32 bits
    try:
        optimiser = made([{"params": [weight]}], config.model_copy(update=_eight_bit(config)), place.device)
        weight.grad = torch.ones_like(weight)
        optimiser.step()
    except Exception as problem:  # whatever its build lacks for this device
        return f"bitsandbytes can't on {place.device} ({type(problem).__name__}: {problem})"
    return None if weight.lt(1).all() else f"bitsandbytes does nothing on {place.device}"


def _quantised(how: str, cost: str) -> Rung:
    """The base in so few bits, if it is not in fewer already."""

    def changes(config: ResolvedConfig) -> dict[str, Any]:
        before = quantised.BITS.get(config.quantised, math.inf)
        return {"quantised": how} if quantised.BITS[how] < before else {}

    return Rung(
        cost,
        changes,
        lambda config, place: quantised.obstacle(how, place.device, PRECISIONS[config.precision]),
        saves=lambda place: quantised.saved_bytes(place.base.unet, how),
    )


LADDER = (
    Rung("about a third more time a step", _checkpointed, lambda config, place: None),
    Rung(
        "the optimiser's memory is rounded",
        _eight_bit,
        _no_eight_bit,
        saves=lambda place: 6 * place.parameters,  # two moments, each a byte instead of four
        on_the_way=False,  # what AdamW has gathered can't be handed over
    ),
    Rung(
        "as many images a step and, but for rounding, the same gradient; one after the other, which a GPU does slower",
        _in_parts,
        lambda config, place: None,
    ),
    _quantised("8bit", "the base's linear layers are rounded to 8 bits, and a step takes longer"),
    _quantised("4bit", "the base's linear layers are rounded to 4 bits, 9 % off, and a step takes longer"),
)


def explicit(settings: Mapping[str, Any]) -> set[str]:
    """The names of the settings that leave nothing to choose."""
    return {key for key, value in settings.items() if value != "auto"}


def in_words(changes: Mapping[str, Any]) -> str:
    """Settings as they are written in a config."""
    return ", ".join(f"{key} = {_shown(value)}" for key, value in changes.items())


def gib(size: float) -> str:
    """Bytes for people."""
    return f"{size / 2**30:.2f} GiB"


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
