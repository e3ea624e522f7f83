"""A library: a folder of adapter files, each known by its file name without the ending. Finding imports no torch."""

import re
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Error

if TYPE_CHECKING:
    from .adapter import Adapter

SUFFIX = ".safetensors"


def names(library: Path | None) -> list[str]:
    """The adapters of a folder, by name."""
    return sorted(file.stem for file in library.glob(f"*{SUFFIX}")) if library and library.is_dir() else []


def named(name: str, library: Path | None) -> Path:
    """The file of a library name, which is never followed as a path. Raises `Error` naming near names."""
    known = names(library)
    if library and name in known:
        return library / f"{name}{SUFFIX}"
    raise _unknown(name, known, library)


def find(name_or_path: str, library: Path | None) -> Path:
    """The file of a library name, or a path to a file or to PEFT's folder.

    Raises `Error` naming near names when there is none.
    """
    if library and (named := library / f"{name_or_path}{SUFFIX}").is_file():
        return named
    path = Path(name_or_path).expanduser()
    if path.is_file() or (name_or_path and path.is_dir()):
        return path
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


def _unknown(name: str, known: list[str], library: Path | None) -> Error:
    near = get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(known) or 'none'}."
    where = f"in {library}" if library else "and no library folder was given"
    return Error(f"There is no adapter {name!r} {where}: {hint}")
