"""The way from noise to a picture."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..bases import Base
from ..errors import Error
from .conditioning import Conditioning, Tokens, condition
from .foreseen import foreseen
from .memory import working
from .recipe import Recipe
from .samplers import find_sampler, make_scheduler, takes_generator


class Cancelled(Exception):
    """Raised by an `on_step` callback to stop between two steps."""


@dataclass(frozen=True)
class Step:
    """Where a generation stands: `index` of `total` steps done, the latents (n, channels, height / 8, width / 8) of n
    pictures that are drawn at once, and what the last step foresees: latents of that shape without their noise."""

    index: int
    total: int
    latents: Tensor
    foreseen: Tensor


OnStep = Callable[[Step], None]
# What the UNet is asked at evaluation `index` of `total`: contexts, with the share that each one's prediction has. The
# weights may be changed between one and the next.
Asked = Callable[[int, int], Iterable[tuple[float, Conditioning]]]
Prepare = Callable[[Recipe], Asked]


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
    with working(base, "text_encoders"):
        return condition(
            base,
            recipe.prompt,
            recipe.negative if recipe.guided else None,
            steps=recipe.steps_done,
            first_pass=recipe.first_pass,
            size=recipe.size,
            clip_skip=recipe.clip_skip,
            tokens=tokens,
            tokens_2=tokens_2,
        )


def always(context: Conditioning) -> Asked:
    """One context, whole, at each step."""
    return lambda _index, _total: [(1.0, context)]


def denoise(base: Base, recipe: Recipe, on_step: OnStep | None = None, asked: Asked | None = None) -> Tensor:
    """Latents of one picture, see `denoise_all`."""
    return denoise_all(base, [recipe], on_step, asked)


@torch.no_grad()
def denoise_all(
    base: Base, recipes: Sequence[Recipe], on_step: OnStep | None = None, asked: Asked | None = None
) -> Tensor:
    """Latents (n, channels, height / 8, width / 8) of n pictures at once, of their recipes' first pass; the recipes
    differ in seed and picture alone.

    `asked` is what the UNet is asked at each step; unset: the recipes' `prompt_context`.
    """
    recipe = recipes[0]
    asked = asked or always(prompt_context(base, recipe))
    scheduler, timesteps, begin = _schedule(base, recipe)
    noises, generators = zip(*(starting_noise(base, one) for one in recipes), strict=True)
    noise = torch.cat(noises).to(base.device)
    if recipe.image is None:
        latents = noise * scheduler.init_noise_sigma
    else:
        pictures = torch.cat([encode_picture(base, one.image, one.size) for one in recipes if one.image])
        latents = scheduler.add_noise(pictures, noise, timesteps[:1])
    if begin and hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)
    options = {"generator": list(generators)} if takes_generator(scheduler) else {}
    with working(base, "unet"):
        for index, t in enumerate(timesteps):
            entry = scheduler.scale_model_input(latents, t).to(base.dtype)
            guesses = [
                (share, _guess(base, entry, t, context.at(index, len(timesteps)), recipe.guidance))
                for share, context in asked(index, len(timesteps))
            ]
            guess = _mean(guesses)
            latents = scheduler.step(guess, t, latents, **options).prev_sample
            if on_step:
                on_step(Step(index + 1, len(timesteps), latents, foreseen(scheduler, entry, guess, t)))
    return latents


@torch.no_grad()
def decode(base: Base, latents: Tensor) -> Image.Image:
    """Latents (1, channels, h, w) -> an RGB picture."""
    scaled = latents / base.vae.config["scaling_factor"]
    with working(base, "vae", scaled.shape[-1] * scaled.shape[-2] * base.vae_factor**2):
        pixels = base.vae.decode(scaled.to(base.device, base.vae.dtype)).sample[0].float()
    if not pixels.isfinite().all():
        raise Error("the picture came out as NaN: the numbers overflowed; use fp32 or bf16 instead of fp16")
    array = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(array.astype(np.uint8))


@torch.no_grad()
def encode_picture(base: Base, picture: Image.Image, size: tuple[int, int]) -> Tensor:
    """A picture, stretched to `size` (width, height) -> scaled latents (1, channels, h, w) in fp32: the mean of what
    the VAE takes it for, so that nothing but the seed is random."""
    fitted = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(fitted)).permute(2, 0, 1)[None].float() / 127.5 - 1
    with working(base, "vae", size[0] * size[1]):
        mean: Tensor = base.vae.encode(pixels.to(base.device, base.vae.dtype)).latent_dist.mode()
    return (mean.float() * base.vae.config["scaling_factor"]).to(base.device)


def draw(base: Base, recipe: Recipe, on_step: OnStep | None = None, prepare: Prepare | None = None) -> Image.Image:
    """One picture of a recipe, see `draw_all`."""
    return draw_all(base, [recipe], on_step, prepare)[0]


def draw_all(
    base: Base, recipes: Sequence[Recipe], on_step: OnStep | None = None, prepare: Prepare | None = None
) -> list[Image.Image]:
    """The pictures of recipes that differ in their seeds alone, at once, on the base as it stands.

    `prepare` gives what the UNet is asked in a pass, see `denoise_all`. A second pass is drawn over the first one's
    pictures, enlarged, from noise of the same seeds.
    """
    first = recipes[0]
    first.check(base)
    second = first.second_pass
    steps = len(_schedule(base, first)[1])
    enlarged = first.over(Image.new("RGB", (1, 1)), second, base.vae_factor) if second else None
    total = steps + (len(_schedule(base, enlarged)[1]) if enlarged else 0)

    def one_pass(recipes: Sequence[Recipe], done: int) -> list[Image.Image]:
        tell = on_step and (lambda step: on_step(replace(step, index=done + step.index, total=total)))
        latents = denoise_all(base, recipes, tell, prepare and prepare(recipes[0]))
        return [decode(base, one) for one in latents.split(1)]

    pictures = one_pass(recipes, 0)
    if second is None:
        return pictures
    over = [recipe.over(picture, second, base.vae_factor) for recipe, picture in zip(recipes, pictures, strict=True)]
    return one_pass(over, steps)


def _schedule(base: Base, recipe: Recipe) -> tuple[Any, Tensor, int]:
    """A fresh scheduler, the timesteps of the evaluations that are done, and how many before them are left out."""
    sampler, scheduler = find_sampler(recipe.sampler), make_scheduler(base, recipe.sampler)
    scheduler.set_timesteps(recipe.steps * sampler.evaluations, device=base.device)
    begin = (recipe.steps - recipe.steps_done) * sampler.evaluations * scheduler.order
    return scheduler, scheduler.timesteps[begin:], begin


def _guess(
    base: Base, entry: Tensor, t: Tensor, context: tuple[Tensor, dict[str, Tensor] | None], guidance: float
) -> Tensor:
    """The UNet's prediction for n pictures in fp32; of several contexts by classifier-free guidance (Ho & Salimans,
    2022, arXiv:2207.12598)."""
    states, added = context
    contexts, pictures = len(states), len(entry)
    if pictures > 1:  # each context for all of the pictures, then the next
        states = states.repeat_interleave(pictures, 0)
        added = added and {key: value.repeat_interleave(pictures, 0) for key, value in added.items()}
    guess = base.unet(entry.repeat(contexts, 1, 1, 1), t, states, added_cond_kwargs=added).sample.float()
    if contexts == 1:
        return guess
    without, with_prompt = guess.chunk(2)
    return without + guidance * (with_prompt - without)


def _mean(guesses: list[tuple[float, Tensor]]) -> Tensor:
    (share, first), *others = guesses
    total = first if share == 1 else share * first
    for share, guess in others:
        total = total + share * guess
    return total
