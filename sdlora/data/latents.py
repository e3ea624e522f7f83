"""Images as latents, encoded once: the VAE costs more than a UNet forward, so no step may wait for it."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from .buckets import Buckets, Size, square
from .cache import Encoded, LatentCache
from .folder import Example
from .images import open_image, to_array, upright_size
from .masks import mask_of
from .views import Sizes, View, uncut, views


@dataclass(frozen=True)
class Seen:
    """What the VAE's encoder said of one view of an image: mean and std (channels, h, w), scaled for the UNet, fp32 on
    the CPU; the view's mask (1, h, w), if it has one; and its sizes, if it was cut or resized."""

    mean: Tensor
    std: Tensor
    mask: Tensor | None = None
    sizes: Sizes | None = None

    def sample(self, noise: Tensor) -> Tensor:
        """A draw from the encoder's distribution, (channels, h, w)."""
        return self.mean + self.std * noise


@dataclass(frozen=True)
class Latents:
    """One image at one size: all of its views, the centred one first. `lost` and `upscaled` say which share of its area
    that one leaves out and how much it is enlarged."""

    example: Example
    size: Size
    views: tuple[Seen, ...]
    lost: float = 0.0
    upscaled: float = 1.0

    @property
    def mean(self) -> Tensor:
        """Of the centred view."""
        return self.views[0].mean

    def sizes(self, view: Seen) -> Sizes:
        """Of one of the views."""
        return view.sizes or uncut(self.size)


@dataclass(frozen=True)
class Viewing:
    """How images are looked at: into which buckets they go, how many random `crops` there are beside the centre's, of
    at least `smallest` of its sides, whether they are mirrored as well, whether masks count."""

    buckets: tuple[Buckets, ...]
    crops: int = 1
    smallest: float = 0.8
    mirrored: bool = False
    masked: bool = False
    seed: int = 0

    @staticmethod
    def square(side: int) -> "Viewing":
        """Each image once, its middle as a square."""
        return Viewing((square(side),))


@torch.no_grad()
def encode_images(
    vae: AutoencoderKL,
    examples: Sequence[Example],
    viewing: Viewing,
    *,
    cache: LatentCache | None = None,
    on_image: Callable[[], None] = lambda: None,
) -> list[Latents]:
    """Each example once for each of the `viewing`'s buckets' resolutions. Raises `Error` for an image or a mask that
    can't be used."""
    encoder = _Encoder(vae, viewing, cache)
    found = []
    for example in examples:
        found += [encoder.encode(example, buckets) for buckets in viewing.buckets]
        on_image()
    return found


class _Encoder:
    def __init__(self, vae: AutoencoderKL, viewing: Viewing, cache: LatentCache | None) -> None:
        self._vae, self._viewing, self._cache = vae, viewing, cache
        self._scale = vae.config["scaling_factor"]
        self._factor = 2 ** (len(vae.config["block_out_channels"]) - 1)

    def encode(self, example: Example, buckets: Buckets) -> Latents:
        viewing, digest = self._viewing, image_hash(example)
        width, height = upright_size(example.path)
        size = buckets.size_for(width, height)
        # by content, so that an image keeps its crops when others come or go
        chance = Random(f"{viewing.seed}/{digest}")
        chosen = list(
            views(
                width,
                height,
                size,
                crops=viewing.crops,
                smallest=viewing.smallest,
                mirrored=viewing.mirrored,
                chance=chance,
            )
        )
        seen = tuple(
            Seen(*self._encoded(example, digest, view), self._mask(example, view), view.sizes(width, height))
            for view in chosen
        )
        return Latents(example, size, seen, chosen[0].lost(width, height), chosen[0].upscaled)

    def _encoded(self, example: Example, digest: str, view: View) -> Encoded:
        """Scaled mean and std of a view, from the cache where it is there."""
        pair = self._cache.load(digest, view) if self._cache else None
        if pair is None:
            pixels = torch.from_numpy(to_array(view.of(open_image(example.path))))[None]
            distribution = self._vae.encode(pixels.to(self._vae.device, self._vae.dtype)).latent_dist
            pair = distribution.mean[0].float().cpu(), distribution.std[0].float().cpu()
            if self._cache:
                self._cache.store(digest, view, pair)
        return pair[0] * self._scale, pair[1] * self._scale

    def _mask(self, example: Example, view: View) -> Tensor | None:
        mask = mask_of(example.path, example.mask, view, self._factor) if self._viewing.masked else None
        return None if mask is None else torch.from_numpy(mask)


def image_hash(example: Example) -> str:
    """SHA-256 of an image file's bytes."""
    return hashlib.sha256(example.path.read_bytes()).hexdigest()
