"""What a run learns from: the examples, and those held out."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from ..data.doctor import short
from ..data.folder import Dataset, Example, read_folder
from ..data.sample import holdout_beside
from ..data.split import split_holdout
from .config import TrainConfig

MUCH_LOST = 0.2
HELD_OUT = 0.1  # this share of the images, where no folder is given


@dataclass(frozen=True)
class Material:
    """Examples to train on and to hold out, and what a person should know about them."""

    dataset: Dataset
    train: tuple[Example, ...]
    holdout: tuple[Example, ...]
    notes: tuple[str, ...]

    @property
    def repeated(self) -> int:
        """Training examples with their repeats counted."""
        return sum(example.repeats for example in self.train)

    def folders(self) -> dict[str, tuple[int, int]]:
        """Folder name -> (repeats, images), names only: no path of this machine belongs into a file that is shared."""
        counts = Counter((example.path.parent.name, example.repeats) for example in self.train)
        return {name: (repeats, count) for (name, repeats), count in counts.items()}

    def tags(self) -> dict[str, dict[str, int]]:
        """Folder name -> how often each comma-separated part of the captions occurs."""
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for example in self.train:
            found[example.path.parent.name].update(t.strip() for t in example.caption.split(",") if t.strip())
        return {name: dict(counter.most_common()) for name, counter in found.items()}


def _spread(examples: Sequence[Example], most: int) -> tuple[Example, ...]:
    """At most so many of them, from all over the folder."""
    if len(examples) <= most:
        return tuple(examples)
    return tuple(examples[place * len(examples) // most] for place in range(most))


def gather(config: TrainConfig) -> Material:
    """Read the folder, and the holdout folder or else a split. Raises `Error` for what `read_folder` refuses."""
    dataset = read_folder(config.images, config.trigger)
    notes = [*(f"skipped {item.path}: {item.reason}" for item in dataset.skipped), *dataset.warnings]
    folder = config.holdout or holdout_beside(config.images)
    if folder is not None:
        held = read_folder(folder, config.trigger)
        notes += [f"held out: skipped {item.path}: {item.reason}" for item in held.skipped]
        notes += short(dataset.examples, held.examples)
        measured = _spread(held.examples, config.holdout_images)
        if len(measured) < len(held.examples):
            notes.append(f"{len(measured)} of the {len(held.examples)} held-out images are measured (holdout_images)")
        return Material(dataset, dataset.examples, measured, tuple(notes))
    share = min(HELD_OUT, config.holdout_images / len(dataset.examples))
    train, holdout, warning = split_holdout(dataset.examples, config.seed, share)
    notes += [warning] if warning else []
    return Material(dataset, train, holdout, (*notes, *short(train, holdout)))
