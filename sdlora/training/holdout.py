"""The held-out loss: the denoising loss on images that were not trained on, with every random draw fixed."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ..bases import Base
from ..data.cache import LatentCache
from ..data.folder import Example
from ..data.latents import Viewing, encode_images
from ..data.wording import PLAIN, Wording
from .batches import Batch, Prompts
from .loss import NoiseSchedule, squared_error
from .randomness import generator

TIMESTEPS, NOISES = 10, 4
BATCH = 8  # divides the draws of an image, so that those of one pass are all of one image, of one size
Predict = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class HeldOutLoss:
    """The unweighted loss over all draws, and its mean in ten equal bands of the noise schedule, low t first."""

    loss: float
    bands: tuple[float, ...]


class Holdout:
    """A fixed set of draws: every image at ten stratified timesteps with four noises each.

    The draws follow from the seed and the image's content, so they are the same for every adapter, step and base.
    """

    def __init__(
        self,
        base: Base,
        examples: Sequence[Example],
        viewing: Viewing,
        *,
        seed: int,
        encoder_trains: bool,
        wording: Wording = PLAIN,
        cache: LatentCache | None = None,
    ) -> None:
        latents = [one.mean for one in encode_images(base.vae, examples, viewing, cache=cache)]
        self._schedule = NoiseSchedule.of(base)
        self._captions = [wording.plain(example) for example in examples]
        self._prompts = Prompts(base, self._captions, encoder_trains=encoder_trains)
        self._latents = latents
        positions, noises, images = [], [], []
        for i, example in enumerate(examples):
            own = generator(seed, "holdout", hashlib.sha256(example.path.read_bytes()).hexdigest())
            for band in range(TIMESTEPS):
                positions += [(band + torch.rand(1, generator=own).item()) / TIMESTEPS] * NOISES
                noises += list(torch.randn((NOISES, *latents[i].shape), generator=own))
                images += [i] * NOISES
        self._timesteps = self._schedule.timesteps(torch.tensor(positions, dtype=torch.float64))
        self._noises, self._images = noises, images

    @property
    def draws(self) -> int:
        """How many predictions a measurement takes."""
        return len(self._images)

    @torch.no_grad()
    def measure(self, predict: Predict, device: torch.device) -> HeldOutLoss:
        """The loss of `predict(noisy, timesteps, prompts)`."""
        errors = []
        for start in range(0, self.draws, BATCH):
            batch = self._take(slice(start, start + BATCH))
            noisy = self._schedule.noisy(batch.latents, batch.noise, batch.timesteps)
            target = self._schedule.target(batch.latents, batch.noise, batch.timesteps)
            guess = predict(noisy.to(device), batch.timesteps.to(device), batch.prompts.to(device))
            errors.append(squared_error(guess.cpu(), target))
        by_band = torch.cat(errors).double().view(-1, TIMESTEPS, NOISES).mean(dim=(0, 2))
        return HeldOutLoss(by_band.mean().item(), tuple(by_band.tolist()))

    def _take(self, part: slice) -> Batch:
        images = self._images[part]
        return Batch(
            torch.stack([self._latents[i] for i in images]),
            torch.stack(self._noises[part]),
            self._timesteps[part],
            self._prompts([self._captions[i] for i in images]),
            torch.ones(len(images)),
        )
