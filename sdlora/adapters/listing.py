"""A folder of adapter files as a list, from headers alone, remembered by size and time of change. No torch."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import Error
from ..files import write_text
from .library import SUFFIX
from .summary import Summary, summarise

VERSION = 1  # of what is remembered: raise it when `Summary` or how it is made changes


@dataclass(frozen=True)
class Listed:
    """A file of the list. `autov2` and `tensor_hash` are the real ones, "" where they were never asked for."""

    size: int  # bytes
    modified: int  # nanoseconds
    summary: Summary
    autov2: str = ""
    tensor_hash: str = ""

    @property
    def hash_is_right(self) -> bool | None:
        """Whether the header's own hash is that of the file's tensors; None where that is unknown."""
        stated = self.summary.stated_hash
        return stated == self.tensor_hash if stated and self.tensor_hash else None

    def as_json(self, path: Path) -> dict[str, Any]:
        """The file as plain data, for `--json`; the header's hash counts as verified once the file was read."""
        hashes = {"autov2": self.autov2, "tensor_hash": self.tensor_hash, "hash_is_right": self.hash_is_right}
        return {"path": str(path), "size": self.size} | asdict(self.summary) | hashes


def list_folder(folder: Path, *, hashes: bool = False, memory: Path | None = None) -> dict[Path, Listed]:
    """All adapter files beneath `folder`, by path. With `hashes` every file is read through.

    `memory` is the file that remembers what was found; unset: one in the user's cache folder. Raises `Error` when there
    is no such folder.
    """
    if not folder.is_dir():
        raise Error(f"there is no folder {folder} to list: name one that holds adapter files")
    memory = memory or default_memory()
    known = recall(memory)
    return {Path(path): listed for path, listed in scan(folder, known, memory, hashes=hashes).items()}


def scan(folder: Path, known: dict[str, Listed], memory: Path, *, hashes: bool = False) -> dict[str, Listed]:
    """`list_folder` for who looks again and again: `known`, once recalled, is changed to what is there now, and is
    written to `memory` only where something was new. {} where there is no such folder."""
    root = str(folder.absolute())
    found = {path: _listed(path, facts, known.get(path), hashes) for path, facts in sorted(_files(root))}
    gone = [path for path in known if path.startswith(root + os.sep) and path not in found]
    if gone or any(known.get(path) is not listed for path, listed in found.items()):
        for path in gone:
            del known[path]
        known.update(found)
        _remember(memory, known)
    return found


def default_memory() -> Path:
    """Where lists are remembered: `$SDLORA_CACHE`, or a folder beside those of other tools."""
    return Path(os.environ.get("SDLORA_CACHE") or Path.home() / ".cache" / "sdlora") / "list.json"


def _files(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    """Every adapter file, folders within included; links to folders are not followed, for they may lead in circles."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return  # a folder that we may not look into is no reason to list nothing
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files(entry.path)
        elif entry.name.lower().endswith(SUFFIX) and not entry.name.startswith(".") and entry.is_file():
            yield entry.path, entry.stat()


def _listed(path: str, facts: os.stat_result, remembered: Listed | None, hashes: bool) -> Listed:
    listed = remembered
    if listed is None or (listed.size, listed.modified) != (facts.st_size, facts.st_mtime_ns):
        listed = Listed(facts.st_size, facts.st_mtime_ns, summarise(Path(path)))
    if hashes and not listed.autov2 and not listed.summary.problem:
        from .formats.container import data_hash, file_hash

        listed = replace(listed, autov2=file_hash(Path(path))[:10], tensor_hash=data_hash(Path(path)))
    return listed


def recall(memory: Path) -> dict[str, Listed]:
    """What is remembered; nothing, where the file is missing, of another version or damaged."""
    try:
        content = json.loads(memory.read_text(encoding="utf-8"))
        files = content["files"] if content["version"] == VERSION else {}
        return {path: Listed(**entry | {"summary": Summary(**entry["summary"])}) for path, entry in files.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _remember(memory: Path, files: dict[str, Listed]) -> None:
    content = {"version": VERSION, "files": {path: asdict(listed) for path, listed in files.items()}}
    with suppress(OSError):  # then only the next list takes longer
        write_text(memory, json.dumps(content, ensure_ascii=False, separators=(",", ":")))
