"""What can't work is told before a run begins."""

from collections.abc import Iterator
from typing import Any

import torch

from ..errors import Error
from .config import ResolvedConfig
from .learned_tokens import TOKENS
from .learning_rate import make_schedule
from .optimiser import kind_of, made, training_mode


def rehearse(config: ResolvedConfig, device: torch.device) -> None:
    """Make optimiser and schedule for one small weight, and step twice.

    Raises `Error` for settings that contradict each other, for what can't be made or can't step, and for an optimiser
    that can't be written into a checkpoint.
    """
    _refuse_contradictions(config)
    weight = torch.nn.Parameter(torch.ones(4, 4, device=device))
    optimiser = made([{"params": [weight], "lr": config.learning_rate}], config, device)
    make_schedule(optimiser, config)
    try:
        training_mode(optimiser)
        for _ in range(2):
            weight.grad = torch.ones_like(weight)
            optimiser.step()
    except Exception as problem:  # whatever a class from elsewhere stumbles over
        raise Error(
            f"The optimiser {config.optimiser} can't make a step ({type(problem).__name__}: {problem}): use another"
        ) from problem
    for value in _leaves(optimiser.state_dict()):
        if not isinstance(value, torch.Tensor | str | int | float | None):
            kind = type(value).__name__
            raise Error(f"The optimiser {config.optimiser} keeps a {kind}, which no checkpoint can hold: use another")


def _refuse_contradictions(config: ResolvedConfig) -> None:
    kind, name = kind_of(config.optimiser), config.optimiser
    tokens = {config.token_learning_rate} if TOKENS in config.targets else set()
    rates = ({config.learning_rate, config.text_encoder_learning_rate} | tokens) - {0.0}
    if kind.slower is None and len(rates) > 1:
        raise Error(
            f"{name} has one learning rate for all: leave those of text encoder and tokens out, or set them to 0"
        )
    if kind.slower is None and (config.block_learning_rates or config.lora_plus != 1):
        raise Error(f"{name} has one learning rate for all: leave block_learning_rates and lora_plus out")
    if kind.averages and not config.schedule.startswith("constant"):
        raise Error(f"{name} needs a constant learning rate: leave schedule = {config.schedule} out")
    if kind.averages and config.ema:
        raise Error(f"{name} averages the weights itself: leave ema out, or set it to 0")
    if config.debiased and config.min_snr_gamma:
        raise Error("min_snr_gamma and debiased are two ways to weight the loss: give one of them")
    if config.adaptive_rank and (config.ema or kind.averages):
        instead = "set ema to 0" if config.ema else f"take another optimiser than {name}"
        raise Error(f"adaptive_rank gives ranks up, which an average of the weights would bring back: {instead}")
    if config.adaptive_rank or config.start != "usual":
        what = "adaptive_rank" if config.adaptive_rank else f"start = {config.start}"
        if config.kind not in ("lora", "locon"):
            raise Error(f"{what} is for low-rank updates: leave it or kind = {config.kind} out")
        if set(config.targets) == {TOKENS}:
            raise Error(f"{what} is for layers, and targets has tokens alone: leave it out, or add targets")
    if config.adaptive_rank and config.start != "usual":
        raise Error(f"adaptive_rank has a start of its own: leave start = {config.start} out")
    if config.timestep_max is not None and config.timestep_max <= config.timestep_min:
        raise Error(f"timestep_max = {config.timestep_max} must be more than timestep_min = {config.timestep_min}")


def _leaves(state: Any) -> Iterator[Any]:
    """All values in a nested state."""
    if isinstance(state, dict):
        state = list(state.values())
    if isinstance(state, list | tuple):
        for part in state:
            yield from _leaves(part)
    else:
        yield state
