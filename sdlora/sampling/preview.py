"""How a picture looks on the way: latents as colours, without the decoder.

A VAE's latents are nearly the colours of its picture, eight pixels in one, in another basis: a linear map brings them
back at no cost. It is fitted for the VAE at hand, so that no family needs numbers of its own.
"""

from weakref import WeakKeyDictionary

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..bases import Base
from .denoise import encode_picture

PATCHES, PATCH = 6, 6  # patches along a side of the picture that is fitted to, latents along a side of a patch
SEED = 0
SMALLEST = 256  # pixels of a preview's longer side: latents are a few dozen
_maps: "WeakKeyDictionary[nn.Module, Tensor]" = WeakKeyDictionary()


@torch.no_grad()
def preview(base: Base, latents: Tensor) -> Image.Image:
    """Latents (1, channels, h, w), as `denoise` has them -> a small RGB picture of their proportions."""
    values = latents[0].float().cpu().permute(1, 2, 0)
    colours = (_with_ones(values) @ colour_map(base)).clamp(0, 1)
    small = Image.fromarray((colours.nan_to_num() * 255).round().numpy().astype(np.uint8))
    scale = max(1.0, SMALLEST / max(small.size))
    return small.resize((round(small.width * scale), round(small.height * scale)), Image.Resampling.BICUBIC)


def colour_map(base: Base) -> Tensor:
    """(channels + 1, 3): what latents and a one are multiplied by for RGB from 0 to 1. Fitted once for each VAE."""
    if base.vae not in _maps:
        _maps[base.vae] = _fitted(base)
    return _maps[base.vae]


def _fitted(base: Base) -> Tensor:
    """Least squares over a picture of patches in many colours and greys."""
    generator = torch.Generator().manual_seed(SEED)
    colours = torch.rand(PATCHES, PATCHES, 3, generator=generator)
    # a third are greys, and all of brightness and darkness: pictures are less colourful than chance
    grey = torch.rand(PATCHES, PATCHES, 1, generator=generator) < 1 / 3
    colours = torch.where(grey, colours.mean(-1, keepdim=True) * 2 - 0.5, colours).clamp(0, 1)
    fine = colours.repeat_interleave(PATCH, 0).repeat_interleave(PATCH, 1)  # a colour for each latent
    side = PATCHES * PATCH * base.vae_factor
    picture = Image.fromarray((fine * 255).round().numpy().astype(np.uint8)).resize(
        (side, side), Image.Resampling.NEAREST
    )
    latents = encode_picture(base, picture, (side, side))[0].cpu().permute(1, 2, 0)
    known = _with_ones(latents).flatten(0, 1).double()
    return torch.linalg.lstsq(known, fine.flatten(0, 1).double()).solution.float()


def _with_ones(values: Tensor) -> Tensor:
    return torch.cat([values, torch.ones_like(values[..., :1])], dim=-1)
