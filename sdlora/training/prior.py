"""Prior preservation: what the trigger does not call up stays as the base draws it.

DreamBooth (Ruiz et al., 2022, arXiv:2208.12242) trains on pictures that the base drew of the class, beside those of the
subject. Here the target on these is not the noise but what the base itself answers (learning without forgetting, Li &
Hoiem, 2016, arXiv:1606.09282): that is exactly met at the start, and adds no noise of its own.
"""

from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from ..bases import Base
from ..data.captions import without_trigger
from ..data.folder import Example
from ..data.latents import Latents, Seen
from ..errors import Error
from ..files import write_atomically
from ..sampling.defaults import defaults_for
from ..sampling.denoise import denoise
from ..sampling.recipe import Recipe
from .batches import Batch, Batches, Prompts
from .config import ResolvedConfig
from .loss import NoiseSchedule
from .material import Material
from .progress import Reporter
from .randomness import derived_seed

EVERY = 4  # one picture of the base's for so many of the training's: half a step's time more
PICTURES, STEPS = 32, 15  # at most so many are drawn; few steps do for keeping the base where it is


class Prior:
    """Pictures by the base itself, captioned without the trigger, and which of them a step sees."""

    def __init__(
        self, base: Base, config: ResolvedConfig, captions: Sequence[str], latents: Tensor, *, encoder_trains: bool
    ) -> None:
        size = config.resolution, config.resolution
        drawn = [
            Latents(Example(Path(), caption), size, (Seen(mean, torch.zeros_like(mean)),))
            for caption, mean in zip(captions, latents, strict=True)
        ]
        self._batches = Batches(
            drawn,
            Prompts(base, captions, encoder_trains=encoder_trains),
            NoiseSchedule.of(base),
            seed=derived_seed(config.seed, "prior"),
            caption_dropout=config.caption_dropout,
            global_batch=max(1, config.batch_size * config.gradient_accumulation // EVERY),
        )

    def take(self, indices: range) -> Batch | None:
        """Those that belong to these global example indices, whatever the batch split; None where none does."""
        chosen = self.places(indices)
        return self._batches.take(chosen) if chosen else None

    @staticmethod
    def places(indices: range) -> list[int]:
        """Which of its own examples these are, counted through the run."""
        return [i // EVERY for i in indices if i % EVERY == 0]


def ready_prior(
    base: Base,
    config: ResolvedConfig,
    material: Material,
    file: Path,
    reporter: Reporter,
    *,
    encoder_trains: bool,
) -> Prior | None:
    """Draw the pictures, as latents, with the base as it is, or read them from `file`; None where none are asked for.

    Raises `Error` where there is no trigger to tell what should change from what should not.
    """
    if not config.prior_preservation:
        return None
    if not config.trigger:
        raise Error("prior_preservation needs a trigger: without it nothing tells what should stay as it is")
    plain = (without_trigger(example.caption, config.trigger) for example in material.train)
    captions = list(dict.fromkeys(plain))[:PICTURES]
    if not file.is_file():  # a resumed run goes on with the very same
        with reporter.console.status(f"drawing {len(captions)} pictures of the base's own"):
            drawn = torch.cat([
                denoise(base, _recipe(base, config, c, i)).float().cpu() for i, c in enumerate(captions)
            ])
        write_atomically(file, lambda path: safetensors.torch.save_file({"latents": drawn.contiguous()}, path))
    latents = safetensors.torch.load_file(file)["latents"]
    return Prior(base, config, captions, latents, encoder_trains=encoder_trains)


def _recipe(base: Base, config: ResolvedConfig, caption: str, index: int) -> Recipe:
    usual = defaults_for(base)
    side = config.resolution
    seed = derived_seed(config.seed, "prior", index)
    return Recipe(caption, "", seed, STEPS, usual.guidance, usual.sampler, (side, side))
