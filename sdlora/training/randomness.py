"""All randomness of a run, derived from its seed and the place where it is used.

Nothing is drawn from a generator that runs along: what an example sees depends only on (seed, global example index),
whatever the batch split, the number of processes or accumulation steps, and a resumed run needs no generator's state.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


def derived_seed(*keys: object) -> int:
    """A 63-bit seed from any keys, by sha256: near keys give unrelated seeds."""
    digest = hashlib.sha256("/".join(map(str, keys)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator(*keys: object) -> torch.Generator:
    """A CPU generator for one purpose."""
    return torch.Generator("cpu").manual_seed(derived_seed(*keys))


@lru_cache(maxsize=8)
def permutation(n: int, *keys: object) -> list[int]:
    """A fixed random order of 0…n-1."""
    return torch.randperm(n, generator=generator(*keys)).tolist()


@dataclass(frozen=True)
class Draw:
    """What is random about one training example; `latent_noise` and `noise` are (channels, height, width)."""

    example: int
    position: float
    latent_noise: Tensor
    noise: Tensor
    drop_caption: bool
    flip: bool


STRATA = 16


def draw(seed: int, index: int, examples: int, shape: tuple[int, ...], strata: int, caption_dropout: float) -> Draw:
    """The draw of global example `index`: each epoch is a new order; timesteps are stratified.

    `position` in [0, 1) is where on the noise schedule the example lies. Each run of `strata` examples in a row has one
    in each of as many equal parts of the schedule: most of the loss's noise comes from random timesteps, and this
    takes it out.
    """
    epoch, place = divmod(index, examples)
    window, slot = divmod(index, strata)
    own = generator(seed, "example", index)
    latent_noise, noise = (torch.randn(shape, generator=own) for _ in range(2))
    within, caption, mirror = torch.rand(3, generator=own, dtype=torch.float64).tolist()
    stratum = permutation(strata, seed, "timesteps", window)[slot]
    return Draw(
        example=permutation(examples, seed, "order", epoch)[place],
        position=(stratum + within) / strata,
        latent_noise=latent_noise,
        noise=noise,
        drop_caption=caption < caption_dropout,
        flip=mirror < 0.5,
    )
