"""Adapters that were deleted, and the way back. Each lies in a folder of its own, with a note of where it was."""

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from ..errors import Error
from ..files import write_text
from .keeping import move_with_companions
from .library import SUFFIX

NOTE = "deleted.json"


@dataclass(frozen=True)
class Deleted:
    """What lies in the trash under `id`: the adapter's name, the folder it was in, when it came here (seconds since
    1970), its size in bytes."""

    id: str
    name: str
    folder: Path
    when: float
    size: int


class Trash:
    """A folder of deleted adapters. They take room until `empty` is called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, adapter: Path) -> Deleted:
        """Move an adapter and what is kept beside it here."""
        when = time.time()
        number = 0
        while True:
            place = self.folder / f"{round(when * 1000)}-{number}"
            try:
                place.mkdir(parents=True)
                break
            except FileExistsError:
                number += 1
        note = {"name": adapter.stem, "folder": str(adapter.parent.absolute()), "when": when}
        write_text(place / NOTE, json.dumps(note, ensure_ascii=False))
        size = adapter.stat().st_size
        move_with_companions(adapter, place)
        return Deleted(place.name, adapter.stem, adapter.parent, when, size)

    def items(self) -> list[Deleted]:
        """What lies here, the latest first."""
        if not self.folder.is_dir():
            return []
        found = (_read(place) for place in self.folder.iterdir() if place.is_dir())
        return sorted((item for item in found if item), key=lambda item: -item.when)

    def restore(self, id: str) -> Path:
        """Put one back where it was; returns its file. Raises `Error` where there is an adapter of its name by now."""
        item = next((item for item in self.items() if item.id == id), None)
        if item is None:
            raise Error("That adapter is no longer in the trash.")
        target = item.folder / f"{item.name}{SUFFIX}"
        if target.exists():
            raise Error(f"There is an adapter {item.name} again: rename that one, then restore.")
        place = self.folder / item.id
        move_with_companions(place / target.name, item.folder)
        shutil.rmtree(place)
        return target

    def empty(self) -> int:
        """Delete all that lies here for good; returns how many adapters there were."""
        items = self.items()
        for item in items:
            shutil.rmtree(self.folder / item.id)
        return len(items)


def _read(place: Path) -> Deleted | None:
    """A folder of the trash; None for what is none."""
    try:
        note = json.loads((place / NOTE).read_text(encoding="utf-8"))
        name, folder, when = str(note["name"]), Path(note["folder"]), float(note["when"])
        return Deleted(place.name, name, folder, when, (place / f"{name}{SUFFIX}").stat().st_size)
    except (OSError, ValueError, KeyError, TypeError):
        return None
