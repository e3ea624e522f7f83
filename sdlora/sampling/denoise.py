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
from .conditioning import Conditioning, Tokens, condition
from .samplers import find_sampler, make_scheduler, takes_generator
from .text_encoding import most_clip_skip


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
    """Everything that a picture follows from, the base and its mix apart.

    The prompts are in A1111's language, without tags. `size` is (width, height) in pixels. `clip_skip` is counted as
    A1111 does: 1 reads the text encoder's last layer that the family reads at all, 2 the one before the last.
    """

    prompt: str
    negative: str
    seed: int
    steps: int
    guidance: float
    sampler: str
    size: tuple[int, int]
    clip_skip: int = 1

    @property
    def guided(self) -> bool:
        """Whether the negative prompt's prediction is asked for, too."""
        return self.guidance > 1

    def check(self, base: Base) -> None:
        """Raises `Error` for a setting that can't work, before any time is spent."""
        factor = base.vae_factor
        if any(side < factor or side % factor for side in self.size):
            raise Error(f"size {self.size[0]}x{self.size[1]}: both sides must be multiples of {factor} pixels")
        most = find_sampler(self.sampler).most_steps(base)
        if not 1 <= self.steps <= most:
            raise Error(f"steps is {self.steps}: give 1 to {most}")
        if not math.isfinite(self.guidance):
            raise Error(f"guidance is {self.guidance}: give a finite number")
        if not 0 <= self.seed < 2**64:
            raise Error(f"seed is {self.seed}: give a whole number from 0 to 2^64 - 1")
        if not 1 <= self.clip_skip <= most_clip_skip(base):
            raise Error(f"clip skip is {self.clip_skip}: give 1 (none) to {most_clip_skip(base)}")


def starting_noise(base: Base, recipe: Recipe) -> tuple[Tensor, torch.Generator]:
    """Noise (1, channels, height / 8, width / 8) and the generator that goes on from it.

    Drawn on the CPU in fp32, so that it is the same on every device; the same draws as diffusers makes from
    `torch.Generator("cpu").manual_seed(seed)`.
    """
    generator = torch.Generator("cpu").manual_seed(recipe.seed)
    width, height = (side // base.vae_factor for side in recipe.size)
    return torch.randn((1, base.unet.config["in_channels"], height, width), generator=generator), generator


def prompt_context(
    base: Base, recipe: Recipe, tokens: Tokens | None = None, tokens_2: Tokens | None = None
) -> Conditioning:
    """What the UNet reads of a recipe; the learned tokens are those of `condition`."""
    negative = recipe.negative if recipe.guided else None
    return condition(
        base,
        recipe.prompt,
        negative,
        steps=recipe.steps,
        size=recipe.size,
        clip_skip=recipe.clip_skip,
        tokens=tokens,
        tokens_2=tokens_2,
    )


@torch.no_grad()
def denoise(base: Base, recipe: Recipe, on_step: OnStep | None = None, context: Conditioning | None = None) -> Tensor:
    """Latents of one picture. Classifier-free guidance (Ho & Salimans, 2022, arXiv:2207.12598) above 1.

    `context` is the recipe's `prompt_context`, where it was encoded before or has learned tokens in it.
    """
    scheduler = make_scheduler(base, recipe.sampler)
    scheduler.set_timesteps(recipe.steps * find_sampler(recipe.sampler).evaluations, device=base.device)
    noise, generator = starting_noise(base, recipe)
    latents = noise.to(base.device) * scheduler.init_noise_sigma
    context = prompt_context(base, recipe) if context is None else context
    options = {"generator": generator} if takes_generator(scheduler) else {}
    total = len(scheduler.timesteps)
    for index, t in enumerate(scheduler.timesteps):
        states, added = context.at(index, total)
        entry = scheduler.scale_model_input(latents, t).expand(len(states), -1, -1, -1)
        guess = base.unet(entry.to(base.dtype), t, states, added_cond_kwargs=added).sample.float()
        if recipe.guided:
            without, with_prompt = guess.chunk(2)
            guess = without + recipe.guidance * (with_prompt - without)
        latents = scheduler.step(guess, t, latents, **options).prev_sample
        if on_step:
            on_step(Step(index + 1, total, latents))
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


def draw(base: Base, recipe: Recipe, on_step: OnStep | None = None, context: Conditioning | None = None) -> Image.Image:
    """One picture of a recipe, on the base as it stands; see `denoise`."""
    recipe.check(base)
    return decode(base, denoise(base, recipe, on_step, context))
