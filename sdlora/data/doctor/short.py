"""The doctor in short, before each training: counts only."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from ..folder import Example
from .likeness import Fingerprint, near
from .looking import quick_print

MOST = 500  # images whose fingerprints are taken, at about a hundredth of a second each


def short(train: Sequence[Example], holdout: Sequence[Example] = ()) -> list[str]:
    """Sentences on images that are there twice, or both trained on and held out; none where all is well.

    What `read_folder` says itself is not said again. Of more than 500 images only the bytes are compared.
    """
    own, held = _Looked(train), _Looked(holdout)
    if len(train) + len(holdout) <= MOST:
        own.take_prints()
        held.take_prints()
    twice = {index for first, index in own.alike(own) if first < index}
    leaks = {index for _, index in own.alike(held)}
    said = []
    if twice:
        said.append(f"{_images(len(twice), 'trained on')} there twice, or nearly.")
    if leaks:
        said.append(
            f"{_images(len(leaks), 'held out')} trained on as well, or nearly: the held-out loss will look too good."
        )
    return [*said, "`sdlora doctor` names them."] if said else []


class _Looked:
    def __init__(self, examples: Sequence[Example]) -> None:
        self._paths = [example.path for example in examples]
        self._hashes = [_hash(path) for path in self._paths]
        self._prints: list[tuple[int, Fingerprint]] = []

    def take_prints(self) -> None:
        found = ((index, quick_print(path)) for index, path in enumerate(self._paths))
        self._prints = [(index, print_) for index, print_ in found if print_]

    def alike(self, other: "_Looked") -> set[tuple[int, int]]:
        """Indices (here, there) of the same files and of pictures that are nearly the same."""
        places = {digest: index for index, digest in reversed(list(enumerate(self._hashes)))}
        same = {(places[digest], index) for index, digest in enumerate(other._hashes) if digest in places}
        pairs = near([print_ for _, print_ in self._prints], [print_ for _, print_ in other._prints])
        return same | {(self._prints[here][0], other._prints[there][0]) for here, there in pairs}


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _images(count: int, which: str) -> str:
    return f"1 image that is {which} is" if count == 1 else f"{count} images that are {which} are"
