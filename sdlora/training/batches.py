"""What each forward pass of a training sees, made from the global example index alone."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from ..bases import Base
from ..data.latents import Latents, Seen
from ..data.views import Sizes
from ..data.wording import PLAIN, Wording
from ..sampling.prompts import Conditions, encode, no_text, tokenize
from .loss import NoiseSchedule
from .randomness import STRATA, Draw, Order, derived_seed, draw
from .timesteps import EVENLY, Timesteps


@dataclass(frozen=True)
class Batch:
    """n noised latents, their noise and timesteps, and what the UNet is told of them; each one's `weight` (n,) and,
    where any has one, its mask (n, 1, h, w)."""

    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    prompts: Conditions
    weights: Tensor
    masks: Tensor | None = None


class Prompts:
    """Texts as the UNet's input: encoded once each where the text encoders are frozen, else as token ids.

    Texts that are known from the start can be had after the encoders have been let go. `without` is what stands for a
    caption that is left out.
    """

    def __init__(self, base: Base, texts: Sequence[str], *, encoder_trains: bool) -> None:
        self._base, self._encoder_trains = base, encoder_trains
        self._rows: dict[str | None, tuple[Tensor, ...]] = {}
        self.without = no_text(base)
        known = list(dict.fromkeys([self.without, *texts]))
        for start in range(0, len(known), 16):
            self._add(known[start : start + 16])

    def __call__(self, texts: Sequence[str | None], sizes: Sequence[Sizes]) -> Conditions:
        """These texts on pictures of these sizes."""
        self._add([text for text in dict.fromkeys(texts) if text not in self._rows])
        parts = zip(*(self._rows[text] for text in texts), strict=True)
        return Conditions(tuple(map(torch.stack, parts)), torch.tensor(sizes, dtype=torch.float32))

    def _add(self, texts: Sequence[str | None]) -> None:
        if texts:
            parts = tokenize(self._base, texts) if self._encoder_trains else encode(self._base, texts)
            self._rows |= dict(zip(texts, zip(*(part.cpu() for part in parts), strict=True), strict=True))


class Batches:
    """The stream of training examples: example `index` is the same whatever the batch size or number of processes."""

    def __init__(
        self,
        latents: Sequence[Latents],
        prompts: Prompts,
        schedule: NoiseSchedule,
        *,
        seed: int,
        caption_dropout: float,
        global_batch: int,
        wording: Wording = PLAIN,
        timesteps: Timesteps = EVENLY,
        offset_noise: float = 0.0,
    ) -> None:
        by_size: dict[tuple[int, int], list[Latents]] = defaultdict(list)
        for one in latents:
            by_size[one.size] += [one] * one.example.repeats
        self._buckets = list(by_size.values())
        self._order = Order(seed, [len(bucket) for bucket in self._buckets], global_batch)
        self._prompts, self._schedule, self._wording = prompts, schedule, wording
        self._seed, self._dropout = seed, caption_dropout
        self._timesteps, self._offset_noise = timesteps, offset_noise
        # one optimiser step covers the whole schedule where it has the examples to do so, else several together do
        self._strata = max(global_batch, STRATA)

    @property
    def epoch_length(self) -> int:
        """Examples in a pass over the images, repeats and resolutions counted."""
        return sum(len(bucket) for bucket in self._buckets)

    def take(self, indices: Sequence[int]) -> Batch:
        """The batch of these global example indices, all of one optimiser step."""
        chosen = [self._chosen(index) for index in indices]
        seen = [_view(latents, d) for latents, d in chosen]
        texts = [self._text(index, latents, d) for index, (latents, d) in zip(indices, chosen, strict=True)]
        positions = torch.tensor([d.position for _, d in chosen], dtype=torch.float64)
        return Batch(
            latents=torch.stack([view.sample(d.latent_noise) for view, (_, d) in zip(seen, chosen, strict=True)]),
            noise=torch.stack([d.noise for _, d in chosen]),
            timesteps=self._schedule.timesteps(self._timesteps.spread(positions)),
            prompts=self._prompts(texts, [one.sizes(view) for view, (one, _) in zip(seen, chosen, strict=True)]),
            weights=torch.tensor([latents.example.weight for latents, _ in chosen]),
            masks=_masks(seen),
        )

    def _chosen(self, index: int) -> tuple[Latents, Draw]:
        bucket, place = self._order.at(index)
        latents = self._buckets[bucket][place]
        shape = tuple(latents.mean.shape)
        return latents, draw(self._seed, index, shape, self._strata, self._dropout, self._offset_noise)

    def _text(self, index: int, latents: Latents, d: Draw) -> str | None:
        if d.drop_caption:
            return self._prompts.without
        if not self._wording.varies:
            return self._wording.plain(latents.example)
        return self._wording.written(latents.example, Random(derived_seed(self._seed, "caption", index)))


def _view(latents: Latents, d: Draw) -> Seen:
    return latents.views[int(d.view * len(latents.views))]


def _masks(seen: Sequence[Seen]) -> Tensor | None:
    if all(view.mask is None for view in seen):
        return None
    return torch.stack([torch.ones_like(view.mean[:1]) if view.mask is None else view.mask for view in seen])
