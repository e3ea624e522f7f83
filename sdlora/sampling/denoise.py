"""The way from noise to a picture."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..bases import Base
from ..errors import Error
from .prompts import encode
from .samplers import find_sampler, make_scheduler


class Cancelled(Exception):
    """Raised by an `on_step` callback to stop between two steps."""


@dataclass(frozen=True)
class Step:
    """Where a generation stands: `index` of `total` steps done, the latents (1, channels, height / 8, width / 8)."""

    index: int
    total: int
    latents: Tensor


OnStep = Callable[[Step], None]


@dataclass(frozen=True)
class Recipe:
    """Everything that a picture follows from, the base and its mix apart. `size` is (width, height) in pixels."""

    prompt: str
    negative: str
    seed: int
    steps: int
    guidance: float
    sampler: str
    size: tuple[int, int]

    @property
    def guided(self) -> bool:
        """Whether the negative prompt's prediction is asked for, too."""
        return self.guidance > 1

    def check(self, base: Base) -> None:
        """Raises `Error` for a setting that can't work, before any time is spent."""
        factor = base.vae_factor
        if any(side < factor or side % factor for side in self.size):
            raise Error(f"size {self.size[0]}x{self.size[1]}: both sides must be multiples of {factor} pixels")
        trained = base.scheduler_config.get("num_train_timesteps", 1000)
        if not 1 <= self.steps < trained:
            raise Error(f"steps is {self.steps}: give 1 to {trained - 1}")
        if not math.isfinite(self.guidance):
            raise Error(f"guidance is {self.guidance}: give a finite number")
        if not 0 <= self.seed < 2**64:
            raise Error(f"seed is {self.seed}: give a whole number from 0 to 2^64 - 1")
        find_sampler(self.sampler)


def starting_noise(base: Base, recipe: Recipe) -> tuple[Tensor, torch.Generator]:
    """Noise (1, channels, height / 8, width / 8) and the generator that goes on from it.

    Drawn on the CPU in fp32, so that it is the same on every device; the same draws as diffusers makes from
    `torch.Generator("cpu").manual_seed(seed)`.
    """
    generator = torch.Generator("cpu").manual_seed(recipe.seed)
    width, height = (side // base.vae_factor for side in recipe.size)
    return torch.randn((1, base.unet.config["in_channels"], height, width), generator=generator), generator


def prompt_context(base: Base, recipe: Recipe) -> Tensor:
    """What the UNet reads of a recipe, (1, context length, width), or 2 with the negative prompt first where guided."""
    return encode(base, [recipe.negative, recipe.prompt] if recipe.guided else [recipe.prompt])


@torch.no_grad()
def denoise(base: Base, recipe: Recipe, on_step: OnStep | None = None, context: Tensor | None = None) -> Tensor:
    """Latents of one picture. Classifier-free guidance (Ho & Salimans, 2022, arXiv:2207.12598) above 1.

    `context` is the recipe's `prompt_context`, where it was encoded before.
    """
    scheduler = make_scheduler(base, recipe.sampler)
    scheduler.set_timesteps(recipe.steps, device=base.device)
    noise, generator = starting_noise(base, recipe)
    latents = noise.to(base.device) * scheduler.init_noise_sigma
    context = prompt_context(base, recipe) if context is None else context
    options = {"generator": generator} if _is_stochastic(scheduler) else {}
    for index, t in enumerate(scheduler.timesteps):
        entry = scheduler.scale_model_input(latents, t).expand(len(context), -1, -1, -1)
        guess = base.unet(entry.to(base.dtype), t, context).sample.float()
        if recipe.guided:
            without, with_prompt = guess.chunk(2)
            guess = without + recipe.guidance * (with_prompt - without)
        latents = scheduler.step(guess, t, latents, **options).prev_sample
        if on_step:
            on_step(Step(index + 1, len(scheduler.timesteps), latents))
    return latents


@torch.no_grad()
def decode(base: Base, latents: Tensor) -> Image.Image:
    """Latents (1, channels, h, w) -> an RGB picture."""
    scaled = latents / base.vae.config["scaling_factor"]
    pixels = base.vae.decode(scaled.to(base.vae.device, base.vae.dtype)).sample[0].float()
    if not pixels.isfinite().all():
        raise Error("the picture came out as NaN: the numbers overflowed; use fp32 or bf16 instead of fp16")
    array = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(array.astype(np.uint8))


def draw(base: Base, recipe: Recipe, on_step: OnStep | None = None, context: Tensor | None = None) -> Image.Image:
    """One picture of a recipe, on the base as it stands; see `denoise`."""
    recipe.check(base)
    return decode(base, denoise(base, recipe, on_step, context))


def _is_stochastic(scheduler: object) -> bool:
    """Whether the sampler draws noise at each step (diffusers' ancestral and SDE kinds take a generator for it)."""
    return "Ancestral" in type(scheduler).__name__
