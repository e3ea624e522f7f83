"""A picture with all that made it, in the form that other tools read."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..pictures import save_picture
from ..sampling.denoise import Recipe
from ..sampling.samplers import find_sampler


@dataclass(frozen=True)
class MixedAdapter:
    """One adapter of a mix, as image metadata names it; `short_hash` is A1111's twelve digits."""

    name: str
    weight: float
    short_hash: str


@dataclass(frozen=True)
class Parameters:
    """What a picture was made from. `str()` gives the text that A1111 writes into PNGs and most tools read."""

    recipe: Recipe
    base: str
    base_hash: str
    adapters: tuple[MixedAdapter, ...]
    version: str

    @property
    def seed(self) -> int:
        return self.recipe.seed

    @property
    def prompt(self) -> str:
        """The prompt with a tag for every adapter: the weight has no other place in that text."""
        return " ".join([self.recipe.prompt, *(f"<lora:{a.name}:{_number(a.weight)}>" for a in self.adapters)]).strip()

    def __str__(self) -> str:
        sampler = find_sampler(self.recipe.sampler)
        facts: dict[str, object] = {"Steps": self.recipe.steps, "Sampler": sampler.name}
        if sampler.schedule:
            facts["Schedule type"] = sampler.schedule
        facts |= {
            "CFG scale": _number(self.recipe.guidance),
            "Seed": self.recipe.seed,
            "Size": f"{self.recipe.size[0]}x{self.recipe.size[1]}",
            "Model hash": self.base_hash,
            "Model": self.base,
        }
        if self.adapters:
            facts["Lora hashes"] = ", ".join(f"{a.name}: {a.short_hash}" for a in self.adapters)
        facts["Version"] = self.version
        lines = [self.prompt]
        if self.recipe.negative:
            lines.append(f"Negative prompt: {self.recipe.negative}")
        return "\n".join([*lines, ", ".join(f"{key}: {_quoted(value)}" for key, value in facts.items() if value != "")])


@dataclass(frozen=True)
class GeneratedImage:
    """`image` is an RGB Pillow image; `parameters` says what it was made from."""

    image: Image.Image
    parameters: Parameters

    def save(self, path: str | Path) -> Path:
        """Write a PNG, JPEG or WebP with the parameters in it: a PNG text chunk, else EXIF UserComment."""
        path = Path(path)
        save_picture(self.image, path, str(self.parameters))
        return path


def _number(value: float) -> str:
    """All digits that the number needs, none that it does not: 0.8, 1, 0.3333333333333333."""
    return repr(float(value)).removesuffix(".0")


def _quoted(value: object) -> str:
    """A1111's rule: what holds a comma, a colon or a line break is written as JSON."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if re.search(r"[,:\n]", text) else text
