"""Images that are there twice: byte by byte, pixel by pixel, or nearly; also between training and holdout."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .findings import Finding
from .likeness import near
from .study import Picture


@dataclass(frozen=True)
class Copies:
    """The same picture more than once; the first one with a caption comes first, it is what --fix keeps."""

    pictures: tuple[Picture, ...]

    @property
    def bytewise(self) -> bool:
        """Whether the files are the same, and not the pixels alone."""
        return len({picture.look.bytes_hash for picture in self.pictures}) == 1


def copies(pictures: Sequence[Picture]) -> list[Copies]:
    """Groups of two or more with the same pixels."""
    by_pixels: dict[str, list[Picture]] = defaultdict(list)
    for picture in sorted(pictures, key=lambda one: not one.said.text):  # stable: those with a caption come first
        by_pixels[picture.look.pixels_hash].append(picture)
    return [Copies(tuple(group)) for group in by_pixels.values() if len(group) > 1]


def duplicate_findings(pictures: Sequence[Picture]) -> Iterator[Finding]:
    """Within one folder."""
    for group in copies(pictures):
        first, *others = group.pictures
        same = "file" if group.bytewise else "picture, pixel by pixel,"
        for other in others:
            yield Finding("duplicate", other.name, f"It is the same {same} as {first.name}: remove one of them.")
    blamed = set()
    for here, there, how in _alike(pictures, pictures):
        if here < there and there not in blamed:
            blamed.add(there)  # of a hundred that are alike each is named once, and not with all of the others
            sentence = f"It is nearly {pictures[here].name}{how}: remove one, if it is the same."
            yield Finding("near-duplicate", pictures[there].name, sentence)


def leak_findings(train: Sequence[Picture], held: Sequence[Picture]) -> Iterator[Finding]:
    """Between the images that are trained on and those held out. Places are the training images'."""
    by_pixels = {picture.look.pixels_hash: picture.name for picture in held}
    for picture in train:
        if found := by_pixels.get(picture.look.pixels_hash):
            sentence = f"It is held out as well ({found}), which hides over-training: remove it from one side."
            yield Finding("leak", picture.name, sentence)
    blamed = set()
    for here, there, how in _alike(train, held):
        if here not in blamed:
            blamed.add(here)
            sentence = f"It is nearly the held-out {held[there].name}{how}: remove it from one side, if it is the same."
            yield Finding("near-leak", train[here].name, sentence)


def _alike(ones: Sequence[Picture], others: Sequence[Picture]) -> Iterator[tuple[int, int, str]]:
    """Indices of pairs that are not the same pixels but look alike, upright or mirrored."""
    for how, prints in (
        ("", [picture.look.print for picture in others]),
        (" in a mirror", [picture.look.mirrored for picture in others]),
    ):
        for index, found in near([picture.look.print for picture in ones], prints):
            if ones[index].look.pixels_hash != others[found].look.pixels_hash:
                yield index, found, how
