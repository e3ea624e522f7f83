"""`samples/index.json`: what the pictures of a run show. Written by the run, read by whoever watches it."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..files import write_text
from ..sampling.recipe import Recipe

NAME = re.compile(r"step-(\d+)-prompt-(\d+)-weight-(-?\d+(?:\.\d+)?)\.png")
TOLD = ("prompt", "negative", "seed", "steps", "guidance", "sampler", "size")


@dataclass(frozen=True, order=True)
class Sample:
    """A picture: after which step, of which prompt (its number), at which weight of the adapter."""

    step: int
    prompt: int
    weight: float

    @property
    def file(self) -> str:
        """`step-000100-prompt-1-weight-0.75.png`."""
        return f"step-{self.step:06d}-prompt-{self.prompt}-weight-{self.weight:.4f}".rstrip("0").rstrip(".") + ".png"

    @staticmethod
    def of(path: Path) -> "Sample | None":
        """The picture of that name; None where it is another file."""
        found = NAME.fullmatch(path.name)
        return Sample(int(found[1]), int(found[2]), float(found[3])) if found else None


class SampleIndex:
    """The prompts of a run by number, from 1 on in the order in which they came; a changed prompt is a new one.

    The pictures are the files themselves: what a killed process did not come to write down is there nevertheless.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "index.json"
        known = _read(self._file)
        self.prompts: dict[int, dict[str, Any]] = {entry["number"]: entry for entry in known.get("prompts", [])}
        self.in_use: list[int] = [number for number in known.get("in_use", []) if number in self.prompts]

    @property
    def pictures(self) -> list[Sample]:
        """All that there are, by step, prompt and weight."""
        return sorted(sample for path in self._folder.glob("step-*.png") if (sample := Sample.of(path)))

    def lines(self) -> list[str]:
        """The prompts that were in use last."""
        return [self.prompts[number]["line"] for number in self.in_use]

    def use(self, lines: Sequence[str], recipes: Sequence[Recipe]) -> list[int]:
        """From now on these are the prompts in use; returns their numbers."""
        known = {_key(entry): number for number, entry in self.prompts.items()}
        self.in_use = []
        for line, recipe in zip(lines, recipes, strict=True):
            entry = {key: value for key, value in asdict(recipe).items() if key in TOLD} | {"size": list(recipe.size)}
            number = known.setdefault(_key(entry), len(self.prompts) + 1)
            self.prompts.setdefault(number, {"number": number, "line": line} | entry)
            self.in_use.append(number)
        self.write()
        return self.in_use

    def write(self) -> None:
        """Everything, with the pictures that there are now."""
        pictures = [asdict(sample) | {"file": sample.file} for sample in self.pictures]
        content = {"prompts": list(self.prompts.values()), "in_use": self.in_use, "pictures": pictures}
        write_text(self._file, json.dumps(content, ensure_ascii=False, indent=1) + "\n")

    def forget_after(self, step: int) -> None:
        """Remove the pictures of later steps: they are drawn again."""
        for sample in self.pictures:
            if sample.step > step:
                (self._folder / sample.file).unlink(missing_ok=True)
        if self._file.is_file():
            self.write()


def _key(entry: dict[str, Any]) -> str:
    return json.dumps([entry[key] for key in TOLD])


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) and _sound(content.get("prompts", [])) else {}
    except (OSError, ValueError):
        return {}


def _sound(entries: Iterable[Any]) -> bool:
    """Whether all prompts have what is asked of them; a file that somebody changed is as good as none."""
    return all(isinstance(entry, dict) and {"number", "line", *TOLD} <= entry.keys() for entry in entries)
