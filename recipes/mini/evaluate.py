"""A fixed measure of a base: how well it predicts fixed noise on fixed icons of the four styles."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from recipes.mini import base as bases
from recipes.mini.captions import STYLES, caption
from recipes.mini.icons import SIZE, Icons
from recipes.mini.latents import encode, tokenise
from recipes.mini.unet import add_noise, schedule

TIMESTEPS = tuple(range(50, 1000, 100))
ICONS_A_STYLE = 16


@dataclass(frozen=True)
class Draws:
    """The same for every base: which icons, and one noise for each icon and timestep."""

    icons: Icons
    noise: Tensor  # (timesteps, icons, 4, h, w)


def fixed_draws(icons: Icons, count: int = ICONS_A_STYLE) -> Draws:
    """`count` icons of each style, white paper, drawn with a seed of their own (not the training's)."""
    generator = torch.Generator().manual_seed(20_000)
    chosen = []
    for style in STYLES:
        own = [i for i, (icon_set, _) in enumerate(icons.names) if icon_set == style]
        chosen += [own[i] for i in torch.randperm(len(own), generator=generator)[:count].tolist()]
    side = SIZE // 8
    noise = torch.randn(len(TIMESTEPS), len(chosen), 4, side, side, generator=generator)
    return Draws(Icons(icons.pixels[chosen], [icons.names[i] for i in chosen]), noise)


@torch.inference_mode()
def evaluate(base: Path, draws: Draws) -> dict[str, float]:
    """Mean unweighted error of the predicted noise, by style and in `all`, in fp32, with the captions it was taught."""
    unet, text_encoder = bases.unet_and_text_encoder(base)
    unet, text_encoder = unet.eval(), text_encoder.eval()
    clean = encode(draws.icons, bases.vae(base), ["white"] * len(draws.icons.names), SIZE)
    ids = tokenise(bases.tokenizer(base), [caption(*name) for name in draws.icons.names])
    prompt, alphas = text_encoder(ids)[0], schedule().alphas_cumprod
    errors = []
    for t, noise in zip(TIMESTEPS, draws.noise, strict=True):
        guess = unet(add_noise(clean, noise, alphas[t]), t, prompt).sample
        errors.append(((guess - noise) ** 2).mean((1, 2, 3)))
    error = torch.stack(errors).mean(0)
    sets = [icon_set for icon_set, _ in draws.icons.names]
    by_style = {
        phrase: error[torch.tensor([s == icon_set for s in sets])].mean().item() for icon_set, phrase in STYLES.items()
    }
    return by_style | {"all": error.mean().item()}
