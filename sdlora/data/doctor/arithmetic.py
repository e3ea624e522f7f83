"""Images × repeats, batches and steps, spelled out."""

from collections import Counter
from collections.abc import Iterator, Sequence

from .study import Picture


def arithmetic(pictures: Sequence[Picture], batch: int, steps: int | None) -> list[str]:
    """Sentences from the images to an epoch's steps and, where `steps` are given, to how often each image is seen."""
    if not pictures:
        return []
    repeated = sum(picture.repeats for picture in pictures)
    said = [*_folders(pictures, repeated), _epoch(repeated, batch)]
    if steps:
        seen = steps * batch
        epochs = seen / repeated
        said.append(f"{steps:,} steps × batch {batch} = {seen:,} examples ÷ {repeated:,} = {epochs:.1f} epochs.")
    return said


def _folders(pictures: Sequence[Picture], repeated: int) -> Iterator[str]:
    if repeated == len(pictures):
        yield f"{len(pictures):,} images, each once an epoch."
        return
    counts = Counter((picture.name.rpartition("/")[0] or ".", picture.repeats) for picture in pictures)
    for (folder, repeats), count in sorted(counts.items()):
        yield f"{folder}: {count:,} images × {repeats:,} repeats = {count * repeats:,}."
    yield f"Together {len(pictures):,} images, {repeated:,} with their repeats."


def _epoch(repeated: int, batch: int) -> str:
    return f"An epoch is {repeated:,} ÷ batch {batch} = {repeated / batch:,.1f} steps."
