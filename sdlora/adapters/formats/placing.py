"""Where a key of a file belongs: what every format says of each key."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from torch import Tensor

from .. import tables
from ..updates.reading import READERS

Parts = dict[str, Tensor]

LONGEST_KEY = 500  # characters; longer ones are nobody's, and patterns need not try
NOWHERE: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Place:
    """A key taken apart: the module as the file names it, its path (None for a module of no family), and the part.

    `families` are those that the module's name leaves.
    """

    module: str
    path: str | None
    part: str
    families: frozenset[str] = NOWHERE


@dataclass(frozen=True)
class Format:
    """One format: how its keys are placed, and how a module's parts become those of `update_from`.

    `place` gives None for a key of another format. `parts` gets the module path and what stands in the file, and may
    raise `Error` with the reason why the module can't be used.
    """

    name: str
    place: Callable[[str], Place | None]
    parts: Callable[[str, Parts], Parts] = lambda _path, parts: parts


@cache
def part_names() -> frozenset[str]:
    """The parts of every kind, as Kohya's and LyCORIS' files name them."""
    named = {name for reader in READERS for name in (reader.mark, *reader.others)}
    return frozenset(named | {"dora_scale"})


def families_of(path: str | None) -> frozenset[str]:
    """The families that have a module of this path."""
    return tables.families_of_path().get(path, NOWHERE) if path else NOWHERE
