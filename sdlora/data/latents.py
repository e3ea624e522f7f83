"""Images as latents, encoded once: the VAE costs more than a UNet forward, so no step may wait for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from .folder import Example
from .images import fit, open_image, to_array


@dataclass(frozen=True)
class Latents:
    """What the VAE's encoder said of n images: mean and std (n, channels, h, w), scaled for the UNet, fp32 on the CPU.

    `mirrored` holds the same for the mirrored images, where these were asked for. `lost` and `upscaled` say of each
    image which share of its area was cropped away and how much it was enlarged.
    """

    mean: Tensor
    std: Tensor
    lost: tuple[float, ...]
    upscaled: tuple[float, ...]
    mirrored: "Latents | None" = None

    def sample(self, index: int, noise: Tensor, flip: bool = False) -> Tensor:
        """A draw from the encoder's distribution for one image, (channels, h, w)."""
        side = self.mirrored if flip and self.mirrored else self
        return side.mean[index] + side.std[index] * noise


@torch.no_grad()
def encode_images(
    vae: AutoencoderKL,
    examples: Sequence[Example],
    resolution: int,
    *,
    mirrored: bool = False,
    on_image: Callable[[], None] = lambda: None,
) -> Latents:
    """Encode each example at `resolution` × `resolution` pixels: short side resized, centre cropped."""
    scale = vae.config["scaling_factor"]
    plain, flipped, lost, upscaled = [], [], [], []
    for example in examples:
        fitted = fit(open_image(example.path), resolution, resolution)
        pixels = torch.from_numpy(to_array(fitted.image))[None].to(vae.device, vae.dtype)
        plain.append(_encoded(vae, pixels, scale))
        if mirrored:
            flipped.append(_encoded(vae, pixels.flip(3), scale))
        lost.append(fitted.lost)
        upscaled.append(fitted.upscaled)
        on_image()
    facts = (tuple(lost), tuple(upscaled))
    return Latents(*_stacked(plain), *facts, Latents(*_stacked(flipped), *facts) if mirrored else None)


def _encoded(vae: AutoencoderKL, pixels: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    distribution = vae.encode(pixels).latent_dist
    return distribution.mean[0].float().cpu() * scale, distribution.std[0].float().cpu() * scale


def _stacked(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    means, stds = zip(*pairs, strict=True)
    return torch.stack(means), torch.stack(stds)
