"""Prior preservation: what the trigger does not call up stays as the base draws it.

DreamBooth (Ruiz et al., 2022, arXiv:2208.12242) trains on class images beside those of the subject, which is what a
class prompt or a folder of class images asks for. Else the target on pictures that the base drew is not the noise but
what the base itself answers (learning without forgetting, Li & Hoiem, 2016, arXiv:1606.09282): that is exactly met at
the start, and adds no noise of its own.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from accelerate import PartialState
from torch import Tensor

from ..bases import Base
from ..data.captions import without_trigger
from ..data.folder import Example
from ..data.latents import Latents, Seen, Viewing
from ..data.views import uncut
from ..errors import Error
from ..files import write_atomically
from ..sampling.defaults import defaults_for
from ..sampling.denoise import denoise
from ..sampling.recipe import Recipe
from .batches import Batch, Batches, Prompts
from .class_images import are_wanted, class_examples
from .config import ResolvedConfig
from .encoding import latents_of
from .loss import NoiseSchedule
from .material import Material
from .progress import Reporter
from .randomness import derived_seed

EVERY = 4  # one picture of the base's for so many of the training's: half a step's time more
PICTURES, STEPS = 32, 15  # at most so many are drawn; few steps do for keeping the base where it is


class Prior:
    """Pictures without the trigger in their captions, and which of them a step sees.

    `latents` (n, channels, h, w) are their means, `spread` their standard deviations, none where the base drew them,
    which are whole pictures then; `sizes` (n, 6) are those of the others.
    `learned` says that these pictures are the target, not the base's answers to them.
    """

    def __init__(
        self,
        base: Base,
        config: ResolvedConfig,
        captions: Sequence[str],
        latents: Tensor,
        spread: Tensor | None = None,
        sizes: Tensor | None = None,
        *,
        encoder_trains: bool,
    ) -> None:
        self.learned = are_wanted(config)
        size, processes = (config.resolution, config.resolution), PartialState().num_processes
        spread = torch.zeros_like(latents) if spread is None else spread
        told = [uncut(size)] * len(captions) if sizes is None else sizes.tolist()
        drawn = [
            Latents(Example(Path(), caption), size, (Seen(mean, std, sizes=of_one),))
            for caption, mean, std, of_one in zip(captions, latents, spread, told, strict=True)
        ]
        self._batches = Batches(
            drawn,
            Prompts(base, captions, encoder_trains=encoder_trains),
            NoiseSchedule.of(base),
            seed=derived_seed(config.seed, "prior"),
            caption_dropout=config.caption_dropout,
            global_batch=max(1, config.batch_size * config.gradient_accumulation * processes // EVERY),
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
    """The prior's pictures, encoded or drawn by the base as it is, or as `file` has them; None where none are wanted.

    Raises `Error` where nothing tells what should stay from what should change, and for class images that can't be
    used.
    """
    if not config.prior_preservation:
        return None
    with PartialState().main_process_first():  # the others read what the first has written
        if not file.is_file():  # a resumed run goes on with the very same
            captions, tensors = (_of_class if are_wanted(config) else _own)(base, config, material, reporter)
            told = {"captions": json.dumps(captions)}
            write_atomically(file, lambda path: safetensors.torch.save_file(tensors, path, metadata=told))
    with safetensors.safe_open(file, "pt") as found:
        captions = json.loads((found.metadata() or {}).get("captions", "[]")) or _plain(config, material)
        tensors = {key: found.get_tensor(key) for key in found.keys()}
    return Prior(base, config, captions, **tensors, encoder_trains=encoder_trains)


Pictures = tuple[list[str], dict[str, Tensor]]  # captions, and what is kept of the pictures


def _of_class(base: Base, config: ResolvedConfig, material: Material, reporter: Reporter) -> Pictures:
    examples = class_examples(base, config, reporter)
    with reporter.console.status(f"encoding {len(examples)} class images"):
        encoded = latents_of(base, examples, Viewing.square(config.resolution))
    seen = [latents.views[0] for latents in encoded]
    tensors = {"latents": torch.stack([one.mean for one in seen]), "spread": torch.stack([one.std for one in seen])}
    tensors["sizes"] = torch.tensor([latents.sizes(latents.views[0]) for latents in encoded])
    return [example.caption for example in examples], tensors


def _own(base: Base, config: ResolvedConfig, material: Material, reporter: Reporter) -> Pictures:
    captions = _plain(config, material)
    with reporter.console.status(f"drawing {len(captions)} pictures of the base's own"):
        drawn = [denoise(base, _recipe(base, config, c, i)).float().cpu() for i, c in enumerate(captions)]
    return captions, {"latents": torch.cat(drawn).contiguous()}


def _plain(config: ResolvedConfig, material: Material) -> list[str]:
    if not config.trigger:
        raise Error(
            "prior_preservation needs a trigger: without it nothing tells what should stay as it is; or give a "
            "class_prompt, such as: a photo of a dog"
        )
    plain = (without_trigger(example.caption, config.trigger) for example in material.train)
    return list(dict.fromkeys(plain))[:PICTURES]


def _recipe(base: Base, config: ResolvedConfig, caption: str, index: int) -> Recipe:
    usual = defaults_for(base)
    side = config.resolution
    seed = derived_seed(config.seed, "prior", index)
    return Recipe(caption, "", seed, STEPS, usual.guidance, usual.sampler, (side, side))
