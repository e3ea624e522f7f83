"""One real training step before anything is encoded: how much memory it takes, and what has to give where that is too
much. The step is undone: the adapter and the optimiser that it was made with are thrown away, and no random number is
drawn from a generator that anybody else draws from."""

import math
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..bases import Base
from ..data.buckets import Size
from ..data.folder import Example
from ..data.images import upright_size
from ..data.latents import Latents, Seen
from ..errors import Error
from ..sampling.memory import attempted, free_caches
from .batches import Batches, Prompts
from .choice import Choice
from .config import ResolvedConfig
from .config_values import budget_of
from .injection import Parts
from .learning import Learning
from .loss import Denoiser, NoiseSchedule
from .material import Material
from .memory_ladder import LADDER, MARGIN, WORTH_IT, Place, Rung, gib, in_words
from .memory_use import hold_to, how_measured, peak_memory, room, room_within
from .objective import Objective
from .preparation import freed_bytes, nothing_to_encode, ready_base, viewing_of, wording_of
from .prior import Prior
from .targets import text_encoder_trains
from .trained_parts import put_in, take_out


@dataclass
class Fit:
    """A config that fits: the settings that were changed for it, and what a person should know."""

    config: ResolvedConfig
    choices: list[Choice]
    notes: list[str]


def fitted(config: ResolvedConfig, asked: Collection[str], base: Base, material: Material, device: torch.device) -> Fit:
    """The config, or the first rung of the ladder below it that fits into the memory there is.

    `asked` are the settings that the user gave. Raises `Error` where not even the last rung fits.
    """
    if config.memory == "off":
        return Fit(config, [], [])
    budget = budget_of(config.memory)
    hold_to(budget, device)
    free = room(device)
    space = free if budget is None else min(free, room_within(budget, device))
    preflight = Preflight(base, material, device)
    fit, need = _climbed(config, Place(base, device, asked), preflight, space)
    if need is None or (budget is not None and need > space):
        raise Error(_too_little(fit, need, space, preflight.size))
    if need * MARGIN > space:
        fit.notes.append(
            f"memory will be tight: {gib(need)} of {gib(space)}; if it runs out, the run saves what it has learned"
        )
    return fit


class Preflight:
    """Measures training steps on a base, on the largest of the images' buckets."""

    def __init__(self, base: Base, material: Material, device: torch.device) -> None:
        self.size: Size = (0, 0)
        self.parameters = 0
        self._base, self._material, self._device = base, material, device

    def need(self, config: ResolvedConfig) -> int | None:
        """The most bytes that the process holds while it trains so; None where a step ran out of memory."""
        done, bytes_ = attempted(lambda: self._measured(config))
        free_caches()
        return bytes_ if done else None

    def seconds(self, config: ResolvedConfig) -> float:
        """What an optimiser's step takes: the second of two, for the first one warms up the device."""
        with self._ready(config) as (step, _):
            took = 0.0
            for _ in range(2):
                began = time.perf_counter()
                step()
                if self._device.type == "cuda":
                    torch.cuda.synchronize(self._device)
                took = time.perf_counter() - began
        return took * config.gradient_accumulation

    def _measured(self, config: ResolvedConfig) -> int:
        with self._ready(config) as (step, encoder_trains):
            _, peak = peak_memory(step, self._device)
        gradients = 4 * self.parameters if config.gradient_accumulation > 1 else 0
        freed = freed_bytes(self._base, config, self._device, encoder_trains=encoder_trains)
        return peak + step.optimiser_bytes + gradients - freed

    @contextmanager
    def _ready(self, config: ResolvedConfig) -> Iterator[tuple["_OneStep", bool]]:
        """A step that can be made, and whether a text encoder trains; the base is as before afterwards."""
        base, device = self._base, self._device
        self.size = largest_bucket(config, self._material)
        encoder_trains = text_encoder_trains(base.modules(), config.targets)
        ready_base(base, config, device, encoder_trains=encoder_trains)
        parts = put_in(base, config)
        self.parameters = sum(p.numel() for part in parts.values() for p in part.weights.values())
        try:
            step = _OneStep(base, config, parts, self.size, device, encoder_trains)
            if nothing_to_encode(config, encoder_trains=encoder_trains):
                for encoder in base.text_encoders:  # a run has let go of them by then, see `preparation.let_go`
                    encoder.to("cpu")
            yield step, encoder_trains
        finally:
            take_out(base, parts)
            base.unet.eval()


class _OneStep:
    """Forward, backward and the optimiser's step, as in a training. Before its first step an optimiser keeps nothing:
    `optimiser_bytes` is what it keeps from then on, beside all else."""

    def __init__(
        self, base: Base, config: ResolvedConfig, parts: Parts, size: Size, device: torch.device, encodes: bool
    ) -> None:
        self._config = config
        self._denoiser = Denoiser(base, encodes=encodes).train()
        self._learning = Learning(parts, config, device)
        latents, wording = _blank(base, config, size), wording_of(config)
        batches = Batches(
            [latents],
            Prompts(base, [] if wording.varies else [wording.plain(latents.example)], encoder_trains=encodes),
            NoiseSchedule.of(base),
            seed=config.seed,
            caption_dropout=config.caption_dropout,
            wording=wording,
            global_batch=config.batch_size,
        )
        prior = None
        if config.prior_preservation:
            mean = _blank(base, config, (config.resolution, config.resolution)).mean
            prior = Prior(base, config, [""], mean[None], encoder_trains=encodes)
        self._objective = Objective(config, batches, prior, parts, base, device)
        self.optimiser_bytes = 0

    def __call__(self) -> None:
        optimiser = self._learning.optimiser
        self._objective.loss(self._denoiser, range(self._config.batch_size)).backward()
        torch.nn.utils.clip_grad_norm_(self._learning.parameters, self._config.max_grad_norm)
        optimiser.step()
        optimiser.zero_grad()
        kept = (value for state in optimiser.state.values() for value in state.values())
        self.optimiser_bytes = sum(v.numel() * v.itemsize for v in kept if isinstance(v, torch.Tensor))


def largest_bucket(config: ResolvedConfig, material: Material) -> Size:
    """The size with the most pixels that the run's images are trained at."""
    sizes = [
        buckets.size_for(*upright_size(example.path))
        for example in material.train
        for buckets in viewing_of(config).buckets
    ]
    return max(sizes, key=lambda size: size[0] * size[1])


def _blank(base: Base, config: ResolvedConfig, size: Size) -> Latents:
    """An image of nothing: how much memory it takes does not depend on what is seen."""
    width, height = (side // base.vae_factor for side in size)
    mean = torch.zeros(base.vae.config["latent_channels"], height, width)
    mask = torch.ones(1, height, width) if config.masked else None
    return Latents(Example(Path(), ""), size, (Seen(mean, torch.zeros_like(mean), mask),))


def _climbed(config: ResolvedConfig, place: Place, preflight: Preflight, space: int) -> tuple[Fit, int | None]:
    """The first rung that fits, or the last one, and what it needs."""
    fit, need = Fit(config, [], []), preflight.need(config)
    fit.notes.append(
        f"memory: a step at {preflight.size[0]}x{preflight.size[1]} {_takes(need)}, of {gib(space)} that there are "
        f"({how_measured(place.device)})"
    )
    for rung in LADDER:
        if need is not None and need * MARGIN <= space:
            break
        if changes := rung.changes(fit.config):
            need = _tried(rung, changes, fit, need, replace(place, parameters=preflight.parameters), preflight, space)
    return fit, need


def _tried(
    rung: Rung,
    changes: dict[str, Any],
    fit: Fit,
    need: int | None,
    place: Place,
    preflight: Preflight,
    space: int,
) -> int | None:
    """What is needed after a rung, which is taken if it can be and saves enough."""
    reason = rung.skipped(fit.config, place)
    least = WORTH_IT * (space if need is None else need)
    if reason is None and (saved := rung.saves(place)) < least:
        reason = f"it would save {gib(saved)}, under {WORTH_IT:.0%}"
    if reason is None:
        config = fit.config.model_copy(update=changes)
        now = preflight.need(config)
        if need is None or saved < math.inf or (now is not None and need - now >= least):  # or: is counted, not guessed
            fit.config = config
            fit.choices += [Choice(key, value, f"to save memory: {rung.cost}") for key, value in changes.items()]
            fit.notes.append(f"memory: {in_words(changes)} {_takes(now)}: {rung.cost}")
            return now
        reason = f"it saves under {WORTH_IT:.0%}" if now is not None else "a step ran out of memory"
    fit.notes.append(f"memory: not {in_words(changes)}: {reason}")
    return need


def _takes(need: int | None) -> str:
    return "takes more than there is" if need is None else f"takes {gib(need)}"


def _too_little(fit: Fit, need: int | None, space: int, size: Size) -> str:
    """All that was tried, and what else there is."""
    tried = in_words({choice.key: choice.value for choice in fit.choices})
    return (
        f"A training step at {size[0]}x{size[1]} {_takes(need)}, of {gib(space)} that it may take"
        + (f", even with {tried}" if tried else "")
        + ": lower resolution, rank or batch_size, or adapt fewer targets"
        + (f"; memory = {fit.config.memory} is the limit" if budget_of(fit.config.memory) else "")
    )
