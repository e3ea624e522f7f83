"""A picture with all that made it, in the form that other tools read."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from ..adapters import Adapter
from ..bases import Base
from ..bases.checkpoint_file import CHECKPOINT_SUFFIXES
from ..pictures import save_picture
from ..sampling.recipe import Recipe
from ..sampling.samplers import find_sampler
from ..version import VERSION
from .infotext import Infotext
from .mix import Weights
from .modes import Mode
from .tags import Tag, number
from .timeline import ALWAYS, Moment


class MixedAdapter(NamedTuple):
    """One adapter of a mix, as image metadata names it: its tag, and A1111's twelve digits."""

    tag: Tag
    short_hash: str


class Batch(NamedTuple):
    """How many pictures were drawn at once, and which of them this is, from 0."""

    size: int
    position: int


ALONE = Batch(1, 0)


@dataclass(frozen=True)
class Parameters:
    """What a picture was made from. `str()` gives the text that A1111 writes into PNGs and most tools read; `details`
    is what that text can't say, and goes beside it as JSON."""

    recipe: Recipe
    base: str
    base_hash: str
    adapters: tuple[MixedAdapter, ...]
    version: str
    details: Mapping[str, Any] = field(default_factory=dict)
    vae: str = ""
    vae_hash: str = ""
    batch: Batch = ALONE

    @property
    def seed(self) -> int:
        return self.recipe.seed

    @property
    def prompt(self) -> str:
        """The prompt with a tag for every adapter: the weight has no other place in that text."""
        return " ".join([self.recipe.prompt, *(str(adapter.tag) for adapter in self.adapters)]).strip()

    def __str__(self) -> str:
        sampler = find_sampler(self.recipe.sampler)
        skip = self.recipe.clip_skip
        facts = {
            "Steps": str(self.recipe.steps),
            "Sampler": sampler.name,
            "Schedule type": sampler.schedule or "",
            "CFG scale": number(self.recipe.guidance),
            "Seed": str(self.recipe.seed),
            "Size": f"{self.recipe.size[0]}x{self.recipe.size[1]}",
            "Model hash": self.base_hash,
            "Model": self.base,
            "VAE hash": self.vae_hash,
            "VAE": self.vae,
            "Clip skip": str(skip) if skip > 1 else "",
            **self._over_a_picture(),
            **(
                {"Batch size": str(self.batch.size), "Batch pos": str(self.batch.position)}
                if self.batch.size > 1
                else {}
            ),
            "Lora hashes": ", ".join(f"{adapter.tag.name}: {adapter.short_hash}" for adapter in self.adapters),
            "Version": self.version,
        }
        told = {key: value for key, value in facts.items() if value}
        return str(Infotext(self.prompt, self.recipe.negative, told))

    def _over_a_picture(self) -> dict[str, str]:
        second = self.recipe.second_pass
        if second is None:
            return {"Denoising strength": number(self.recipe.strength)} if self.recipe.image else {}
        return {
            "Denoising strength": number(second.strength),
            "Hires upscale": number(second.scale),
            "Hires steps": str(second.steps or self.recipe.steps),
            "Hires upscaler": "Lanczos",
        }


@dataclass(frozen=True)
class GeneratedImage:
    """`image` is an RGB Pillow image; `parameters` says what it was made from. `unsafe` is whether the safety checker
    found it so; then it is black."""

    image: Image.Image
    parameters: Parameters
    unsafe: bool = False

    def save(self, path: str | Path) -> Path:
        """Write a PNG, JPEG or WebP with the parameters in it, see `pictures`."""
        path = Path(path)
        save_picture(self.image, path, str(self.parameters), self.parameters.details)
        return path


def parameters_of(
    base: Base, recipe: Recipe, active: Sequence[tuple[Adapter, Weights]], mode: Mode, batch: Batch = ALONE
) -> Parameters:
    """What a picture of the recipe was made from, on a base with the adapters that are active in its mix."""
    tags = [
        Tag(adapter.name, w.text, w.unet, None, *(None if usual == m else m for m, usual in _moments(w)))
        for adapter, w in active
    ]
    hashes = [adapter.metadata.get("sshs_model_hash", "")[:12] for adapter, _ in active]
    mixed = tuple(MixedAdapter(*pair) for pair in zip(tags, hashes, strict=True))
    tags_say_all = mode == "blend" and all(Weights(w.unet, w.text, span=w.span.without_ramps) == w for _, w in active)
    details: dict[str, Any] = {"dtype": str(base.dtype).removeprefix("torch."), "device": base.device.type}
    if not tags_say_all:
        details |= {"mode": mode, "mix": {adapter.name: weights.given() for adapter, weights in active}}
    if recipe.image is not None:
        details |= {"image": picture_hash(recipe.image), "strength": recipe.strength}
    return Parameters(
        recipe,
        model_name(base.path),
        base.short_hash,
        mixed,
        f"sdlora {VERSION}",
        details,
        vae=base.vae_name,
        vae_hash=base.vae_hash,
        batch=batch,
    )


def picture_hash(picture: Image.Image) -> str:
    """SHA-256 of a picture's RGB pixels, row by row, so that neither its format nor its metadata matter."""
    return hashlib.sha256(picture.convert("RGB").tobytes()).hexdigest()


def model_name(path: str) -> str:
    """The last part of a base's path or hub id, without a checkpoint file's ending: `v1-5`, but `my-model-1.5`."""
    name = Path(path).name
    ending = next((suffix for suffix in CHECKPOINT_SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(ending)]


def _moments(weights: Weights) -> Sequence[tuple[Moment, Moment]]:
    """The start and the stop, each with what it is when nobody says."""
    return (weights.span.start, ALWAYS.start), (weights.span.stop, ALWAYS.stop)
