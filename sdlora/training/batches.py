"""What each forward pass of a training sees, made from the global example index alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..bases import Base
from ..data.folder import Example
from ..data.latents import Latents
from ..sampling.prompts import encode, tokenize
from .loss import NoiseSchedule
from .randomness import STRATA, draw


@dataclass(frozen=True)
class Batch:
    """n noised latents, their noise and timesteps, and their prompts (token ids, or encoded)."""

    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    prompts: Tensor


class Prompts:
    """Captions as the UNet's input: encoded once where the text encoder is frozen, else as token ids."""

    def __init__(self, base: Base, captions: Sequence[str], *, encoder_trains: bool) -> None:
        self._index = {caption: i for i, caption in enumerate(dict.fromkeys(["", *captions]))}
        texts = list(self._index)
        if encoder_trains:
            self._rows = tokenize(base, texts)
        else:
            self._rows = torch.cat([encode(base, texts[i : i + 16]).cpu() for i in range(0, len(texts), 16)])

    def __call__(self, captions: Sequence[str]) -> Tensor:
        """Token ids (n, length) or encodings (n, length, width)."""
        return self._rows[[self._index[caption] for caption in captions]]


class Batches:
    """The stream of training examples: example `index` is the same whatever the batch size or number of processes."""

    def __init__(
        self,
        examples: Sequence[Example],
        latents: Latents,
        prompts: Prompts,
        schedule: NoiseSchedule,
        *,
        seed: int,
        caption_dropout: float,
        global_batch: int,
    ) -> None:
        self._order = [i for i, example in enumerate(examples) for _ in range(example.repeats)]
        self._captions = [example.caption for example in examples]
        self._latents, self._prompts, self._schedule = latents, prompts, schedule
        self._seed, self._dropout = seed, caption_dropout
        # one optimiser step covers the whole schedule where it has the examples to do so, else several together do
        self._strata = max(global_batch, STRATA)

    @property
    def epoch_length(self) -> int:
        """Examples in a pass over the images, repeats counted."""
        return len(self._order)

    def take(self, indices: Sequence[int]) -> Batch:
        """The batch of these global example indices."""
        shape = tuple(self._latents.mean.shape[1:])
        draws = [draw(self._seed, i, len(self._order), shape, self._strata, self._dropout) for i in indices]
        images = [self._order[d.example] for d in draws]
        clean = [self._latents.sample(i, d.latent_noise, d.flip) for i, d in zip(images, draws, strict=True)]
        captions = ["" if d.drop_caption else self._captions[i] for i, d in zip(images, draws, strict=True)]
        return Batch(
            latents=torch.stack(clean),
            noise=torch.stack([d.noise for d in draws]),
            timesteps=self._schedule.timesteps(torch.tensor([d.position for d in draws], dtype=torch.float64)),
            prompts=self._prompts(captions),
        )
