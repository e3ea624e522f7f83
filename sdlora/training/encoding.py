"""Images as latents for a training, within the memory there is."""

from collections.abc import Sequence
from contextlib import nullcontext

from ..bases import Base
from ..data.cache import LatentCache
from ..data.folder import Example
from ..data.latents import Latents, Viewing, encode_images
from ..sampling.memory import alone


def latents_of(
    base: Base, examples: Sequence[Example], viewing: Viewing, *, cache: LatentCache | None = None
) -> list[Latents]:
    """As `encode_images` by the base's VAE; where memory is so short that it works in tiles, it is alone on the device
    meanwhile. Raises `Error` for an image or a mask that can't be used."""
    with alone(base, "vae") if base.vae.use_tiling else nullcontext():
        return encode_images(base.vae, examples, viewing, cache=cache)
