"""All randomness of a run, derived from its seed and the place where it is used.

Nothing is drawn from a generator that runs along: what an example sees depends only on (seed, global example index),
whatever the batch split, the number of processes or accumulation steps, and a resumed run needs no generator's state.
"""

import hashlib
from collections.abc import Sequence
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
    """What is random about one training example, but for which it is; `latent_noise` and `noise` are (channels, h,
    w), `position` in [0, 1) is where on the noise schedule it lies, `view` in [0, 1) which of its views is seen."""

    position: float
    latent_noise: Tensor
    noise: Tensor
    drop_caption: bool
    view: float


STRATA = 16


def draw(
    seed: int, index: int, shape: tuple[int, ...], strata: int, caption_dropout: float, offset_noise: float = 0.0
) -> Draw:
    """The draw of global example `index`; timesteps are stratified.

    Each run of `strata` examples in a row has one in each of as many equal parts of the schedule: most of the loss's
    noise comes from random timesteps, and this takes it out. `offset_noise` is the share of a noise that is the same
    for a whole channel (Guttenberg, 2023, crosslabs.org/blog/diffusion-with-offset-noise).
    """
    window, slot = divmod(index, strata)
    own = generator(seed, "example", index)
    latent_noise, noise = (torch.randn(shape, generator=own) for _ in range(2))
    within, caption, view = torch.rand(3, generator=own, dtype=torch.float64).tolist()
    stratum = permutation(strata, seed, "timesteps", window)[slot]
    if offset_noise:
        noise = noise + offset_noise * torch.randn((shape[0], 1, 1), generator=own)
    return Draw((stratum + within) / strata, latent_noise, noise, caption < caption_dropout, view)


class Order:
    """Which example each global index is, of `sizes[b]` examples in bucket b.

    The examples of an optimiser step (`per_step`) are of one bucket, so that they can be stacked whatever the split
    into batches, and no batch is ever partial: each bucket has a stream of its own, which goes on from epoch to epoch,
    each of them in a new order. In every window of as many steps as there are examples each bucket has as many steps as
    it has examples, so all examples are seen equally often.
    """

    def __init__(self, seed: int, sizes: Sequence[int], per_step: int) -> None:
        self._seed, self._sizes, self._per_step = seed, tuple(sizes), per_step
        self._bucket = [b for b, size in enumerate(sizes) for _ in range(size)]

    def at(self, index: int) -> tuple[int, int]:
        """Bucket, and place within it."""
        step, place = divmod(index, self._per_step)
        bucket, before = self._turn(step)
        epoch, number = divmod(before * self._per_step + place, self._sizes[bucket])
        purpose = f"order-{bucket}" if bucket else "order"  # a run with one bucket is what it always was
        return bucket, permutation(self._sizes[bucket], self._seed, purpose, epoch)[number]

    def _turn(self, step: int) -> tuple[int, int]:
        """The bucket of a step, and how many steps it had before."""
        if len(self._sizes) == 1:
            return 0, step
        window, slot = divmod(step, len(self._bucket))
        turns = [self._bucket[i] for i in permutation(len(self._bucket), self._seed, "buckets", window)]
        bucket = turns[slot]
        return bucket, window * self._sizes[bucket] + turns[:slot].count(bucket)
