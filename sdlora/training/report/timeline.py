"""The samples of a run side by side: for each prompt a row a weight, a column for each step, the base's first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..run_folder import RunFolder
from ..sample_index import Sample, SampleIndex
from .images import sample_uri

MOST_STEPS = 10  # columns: of more, so many are taken evenly, with the first, the last and the marked ones


@dataclass(frozen=True)
class Shot:
    """A picture of the timeline; `picture` is "" where there is none."""

    step: int
    picture: str
    marked: bool


@dataclass(frozen=True)
class Row:
    """A prompt's samples at one weight of the adapter; "0" where there are none but the base's."""

    weight: str
    shots: tuple[Shot, ...]


@dataclass(frozen=True)
class Prompt:
    """A prompt's samples; `details` say how they are drawn."""

    prompt: str
    details: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Timeline:
    """`left_out` steps have samples that are not shown."""

    steps: tuple[int, ...]
    prompts: tuple[Prompt, ...]
    left_out: int


def timeline(run: RunFolder, marked: Sequence[int]) -> Timeline:
    """All prompts that were ever in use, those in use now first."""
    index = SampleIndex(run.samples)
    pictures = set(index.pictures)
    every = sorted({sample.step for sample in pictures})
    steps = _chosen(every, marked)
    prompts = []
    for number in dict.fromkeys([*index.in_use, *index.prompts]):
        own = {sample for sample in pictures if sample.prompt == number}
        weights = sorted({sample.weight for sample in own if sample.step}) or [0.0]
        rows = [Row(f"{w:g}", tuple(_shot(run, own, number, w, step, marked) for step in steps)) for w in weights]
        if own:
            entry = index.prompts[number]
            prompts.append(Prompt(entry["prompt"], _details(entry), tuple(rows)))
    return Timeline(tuple(steps), tuple(prompts), len(every) - len(steps))


def _chosen(steps: Sequence[int], marked: Sequence[int]) -> list[int]:
    if len(steps) <= MOST_STEPS:
        return list(steps)
    places = {round(i * (len(steps) - 1) / (MOST_STEPS - 1)) for i in range(MOST_STEPS)}
    return sorted({steps[place] for place in places} | set(marked) & set(steps))


def _shot(run: RunFolder, pictures: set[Sample], number: int, weight: float, step: int, marked: Sequence[int]) -> Shot:
    sample = Sample(step, number, weight if step else 0.0)
    uri = sample_uri(run.samples / sample.file) if sample in pictures else ""
    return Shot(step, uri, bool(step) and step in marked)


def _details(entry: dict[str, Any]) -> str:
    negative = f"without: {entry['negative']}, " if entry["negative"] else ""
    width, height = entry["size"]
    return f"{negative}seed {entry['seed']}, {width} × {height}, {entry['steps']} steps, guidance {entry['guidance']:g}"
