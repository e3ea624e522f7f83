"""The samples of a run side by side: a row for each prompt and weight, a column for each step, the base's first."""

from collections.abc import Sequence
from dataclasses import dataclass

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
    """One prompt at one weight."""

    prompt: str
    details: str
    weight: str
    shots: tuple[Shot, ...]


@dataclass(frozen=True)
class Timeline:
    """`left_out` steps have samples that are not shown."""

    steps: tuple[int, ...]
    rows: tuple[Row, ...]
    left_out: int


def timeline(run: RunFolder, marked: Sequence[int]) -> Timeline:
    """All prompts that were ever in use, those in use now first."""
    index = SampleIndex(run.samples)
    pictures = set(index.pictures)
    every = sorted({sample.step for sample in pictures})
    steps = _chosen(every, marked)
    numbers = [*dict.fromkeys([*index.in_use, *index.prompts])]
    rows = [
        Row(
            prompt=index.prompts[number]["prompt"],
            details=_details(index.prompts[number]),
            weight=f"{weight:g}",
            shots=tuple(_shot(run, pictures, number, weight, step, marked) for step in steps),
        )
        for number in numbers
        for weight in sorted({one.weight for one in pictures if one.prompt == number and one.step}) or [0.0]
        if any(one.prompt == number for one in pictures)
    ]
    return Timeline(tuple(steps), tuple(rows), len(every) - len(steps))


def _chosen(steps: Sequence[int], marked: Sequence[int]) -> list[int]:
    if len(steps) <= MOST_STEPS:
        return list(steps)
    places = {round(i * (len(steps) - 1) / (MOST_STEPS - 1)) for i in range(MOST_STEPS)}
    return sorted({steps[place] for place in places} | set(marked) & set(steps))


def _shot(
    run: RunFolder, pictures: set[Sample], number: int, weight: float, step: int, marked: Sequence[int]
) -> Shot:
    sample = Sample(step, number, weight if step else 0.0)
    uri = sample_uri(run.samples / sample.file) if sample in pictures else ""
    return Shot(step, uri, bool(step) and step in marked)


def _details(entry: dict[str, object]) -> str:
    negative = f"without: {entry['negative']}, " if entry["negative"] else ""
    width, height = entry["size"]  # type: ignore[misc]
    return f"{negative}seed {entry['seed']}, {width} × {height}, {entry['steps']} steps, guidance {entry['guidance']:g}"
