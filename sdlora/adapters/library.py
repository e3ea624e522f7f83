"""A library: a folder of adapter files, each known by its file name without the ending, or a shelf of several folders.

The adapters that come with sdlora are found in every library, behind its own. Finding imports no torch.
"""

import re
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..errors import Error
from ..resources import SAMPLE_ADAPTERS

if TYPE_CHECKING:
    from .adapter import Adapter

SUFFIX = ".safetensors"


class Shelf(Protocol):
    """Adapters of several folders: `collection.Collection`."""

    def names(self) -> list[str]:
        """Those that there are."""

    def path(self, id: str) -> Path:
        """The file of one; raises `Error` where there is none."""


Library = Path | Shelf


def names(library: Library | None) -> list[str]:
    """The adapters of a library, by name."""
    if library is None or not isinstance(library, Path):
        return library.names() if library else []
    return sorted(file.stem for file in library.glob(f"*{SUFFIX}")) if library.is_dir() else []


def has(name: str, library: Library | None) -> bool:
    """Whether a name is enough to find an adapter by, be it the library's own or one that comes with sdlora."""
    return _holds(name, library) or name in names(SAMPLE_ADAPTERS)


def _holds(name: str, library: Library | None) -> bool:
    if isinstance(library, Path):
        return bool(name) and (library / f"{name}{SUFFIX}").is_file()
    return name in names(library)


def named(name: str, library: Library | None) -> Path:
    """The file of a library name, which is never followed as a path. Raises `Error` naming near names."""
    known = names(library)
    if library and name in known:
        return library / f"{name}{SUFFIX}" if isinstance(library, Path) else library.path(name)
    if name in names(SAMPLE_ADAPTERS):
        return SAMPLE_ADAPTERS / f"{name}{SUFFIX}"
    raise _unknown(name, known, library)


def find(name_or_path: str, library: Library | None) -> Path:
    """The file of a library name, or a path to a file or to PEFT's folder.

    Raises `Error` naming near names when there is none.
    """
    if library and _holds(name_or_path, library):
        return library / f"{name_or_path}{SUFFIX}" if isinstance(library, Path) else library.path(name_or_path)
    path = Path(name_or_path).expanduser()
    if path.is_file() or (name_or_path and path.is_dir()):
        return path
    if name_or_path in names(SAMPLE_ADAPTERS):
        return SAMPLE_ADAPTERS / f"{name_or_path}{SUFFIX}"
    raise _unknown(name_or_path, names(library), library)


def parse_weight(text: str) -> tuple[str, float]:
    """`FILE_OR_NAME[:WEIGHT]`, split at the last colon if a number follows: `ink:0.8`, `C:\\ink.safetensors`."""
    name, colon, weight = text.rpartition(":")
    if colon and re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", weight):
        return name, float(weight)
    return text, 1.0


def load(path: Path) -> "Adapter":
    """The adapter of a file, read anew only when the file has changed."""
    facts = path.stat()
    # not resolved: a link into a cache would give the adapter the name of the file that it leads to
    return _load(path.absolute(), facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=32)
def _load(path: Path, _modified: int, _size: int) -> "Adapter":
    from .formats import load_adapter

    return load_adapter(path)


def _unknown(name: str, known: list[str], library: Library | None) -> Error:
    near = get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(known) or 'none'}."
    place = library if isinstance(library, Path) else "the library"
    where = f"in {place}" if library else "and no library folder was given"
    return Error(f"There is no adapter {name!r} {where}: {hint}")
