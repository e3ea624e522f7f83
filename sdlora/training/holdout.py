"""The held-out loss: the denoising loss on images that were not trained on, with every random draw fixed."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from ..bases import Base
from ..data.cache import LatentCache
from ..data.folder import Example
from ..data.latents import Viewing
from ..data.wording import PLAIN, Wording
from ..sampling.prompts import Conditions
from .batches import Batch, Prompts
from .encoding import latents_of
from .loss import NoiseSchedule, squared_error
from .randomness import generator

TIMESTEPS, NOISES = 10, 4
BATCH = 8
STRIDE = 7  # has no divisor in common with an image's draws: a glance sees them all in turn
Predict = Callable[[torch.Tensor, torch.Tensor, Conditions], torch.Tensor]


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
        captions: Sequence[str] | None = None,
        noises: int = NOISES,
        cache: LatentCache | None = None,
    ) -> None:
        encoded = latents_of(base, examples, viewing, cache=cache)
        latents = [one.mean for one in encoded]
        self._sizes = [one.sizes(one.views[0]) for one in encoded]
        self._schedule = NoiseSchedule.of(base)
        self._captions = list(captions or map(wording.plain, examples))
        self._prompts = Prompts(base, self._captions, encoder_trains=encoder_trains)
        self._latents = latents
        positions, drawn, images = [], [], []
        for i, example in enumerate(examples):
            own = generator(seed, "holdout", hashlib.sha256(example.path.read_bytes()).hexdigest())
            for band in range(TIMESTEPS):
                positions += [(band + torch.rand(1, generator=own).item()) / TIMESTEPS] * noises
                drawn += list(torch.randn((noises, *latents[i].shape), generator=own))
                images += [i] * noises
        self._timesteps = self._schedule.timesteps(torch.tensor(positions, dtype=torch.float64))
        self._noises, self._images, self._each = drawn, images, noises

    @property
    def draws(self) -> int:
        """How many predictions a measurement takes."""
        return len(self._images)

    @torch.no_grad()
    def measure(self, predict: Predict, device: torch.device) -> HeldOutLoss:
        """The loss of `predict(noisy, timesteps, prompts)`."""
        by_band = self._squared(predict, device).view(-1, TIMESTEPS, self._each).mean(dim=(0, 2))
        return HeldOutLoss(by_band.mean().item(), tuple(by_band.tolist()))

    @torch.no_grad()
    def glance(self, predict: Predict, device: torch.device) -> float:
        """The mean loss over every seventh draw: of every image, at all timesteps, with all noises. Enough to compare
        adapters by, since the draws are the same for all."""
        return self._squared(predict, device, STRIDE).mean().item()

    @torch.no_grad()
    def predictions(self, predict: Predict, device: torch.device) -> list[torch.Tensor]:
        """All answers of `predict(noisy, timesteps, prompts)`, in fp32 on the CPU."""
        return [guess for guess, _ in self._guesses(predict, device)]

    def _squared(self, predict: Predict, device: torch.device, stride: int = 1) -> torch.Tensor:
        """The squared error of every `stride`-th draw, in fp64."""
        errors = [
            squared_error(guess, self._schedule.target(batch.latents, batch.noise, batch.timesteps))
            for guess, batch in self._guesses(predict, device, stride)
        ]
        return torch.cat(errors).double()

    def _guesses(self, predict: Predict, device: torch.device, stride: int = 1) -> Iterator[tuple[torch.Tensor, Batch]]:
        for part in self._parts(stride):
            batch = self._take(part)
            noisy = self._schedule.noisy(batch.latents, batch.noise, batch.timesteps)
            yield predict(noisy.to(device), batch.timesteps.to(device), batch.prompts.to(device)).float().cpu(), batch

    def _parts(self, stride: int) -> Iterator[Sequence[int]]:
        """Every `stride`-th draw, in passes: all of one image, for another may have another size."""
        of_one = TIMESTEPS * self._each
        for image in range(0, self.draws, of_one):
            own = [draw for draw in range(image, image + of_one) if draw % stride == 0]
            for start in range(0, len(own), BATCH):
                yield own[start : start + BATCH]

    def _take(self, part: Sequence[int]) -> Batch:
        images = [self._images[draw] for draw in part]
        return Batch(
            torch.stack([self._latents[i] for i in images]),
            torch.stack([self._noises[draw] for draw in part]),
            self._timesteps[list(part)],
            self._prompts([self._captions[i] for i in images], [self._sizes[i] for i in images]),
            torch.ones(len(images)),
        )
