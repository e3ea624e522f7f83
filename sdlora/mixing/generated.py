"""A picture with all that made it, in the form that other tools read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from ..pictures import save_picture
from ..sampling.denoise import Recipe
from ..sampling.samplers import find_sampler
from .infotext import Infotext
from .tags import number


@dataclass(frozen=True)
class MixedAdapter:
    """One adapter of a mix, as image metadata names it; `short_hash` is A1111's twelve digits."""

    name: str
    weight: float
    short_hash: str


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

    @property
    def seed(self) -> int:
        return self.recipe.seed

    @property
    def prompt(self) -> str:
        """The prompt with a tag for every adapter: the weight has no other place in that text."""
        return " ".join([self.recipe.prompt, *(f"<lora:{a.name}:{number(a.weight)}>" for a in self.adapters)]).strip()

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
            "Clip skip": str(skip) if skip > 1 else "",
            "Lora hashes": ", ".join(f"{a.name}: {a.short_hash}" for a in self.adapters),
            "Version": self.version,
        }
        told = {key: value for key, value in facts.items() if value}
        return str(Infotext(self.prompt, self.recipe.negative, told))


@dataclass(frozen=True)
class GeneratedImage:
    """`image` is an RGB Pillow image; `parameters` says what it was made from."""

    image: Image.Image
    parameters: Parameters

    def save(self, path: str | Path) -> Path:
        """Write a PNG, JPEG or WebP with the parameters in it, see `pictures`."""
        path = Path(path)
        save_picture(self.image, path, str(self.parameters), self.parameters.details)
        return path
