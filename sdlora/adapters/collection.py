"""All adapters at hand: those of a workspace, which may be changed, and those of further folders, which are only read.

Thousands of files stay quick: headers and notes are read again only where a file's size or time has changed, and a
search touches no file at all. Imports no torch.
"""

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from ..errors import Error
from .library import SUFFIX
from .listing import Listed, default_memory, recall, scan
from .sidecar import Sidecar, read_sidecar

ORDERS = ("name", "newest", "largest")
FAMILIES = ("sd1", "sd2", "sdxl")
NOTHING = Sidecar()
OTHER = "other"  # no family was told, or the file can't be read


@dataclass(frozen=True)
class Item:
    """One file. `id` is a name that no other has: the only way by which a page or a client may ask for it.

    `folder` is the folder of the collection that it lies in; `own` says that it may be changed.
    """

    id: str
    path: Path
    folder: Path
    own: bool
    listed: Listed
    sidecar: Sidecar

    @property
    def trigger(self) -> str:
        """The words to write into a prompt: what its owner noted, else what the file tells."""
        return self.sidecar.activation or self.listed.summary.trigger

    @property
    def family(self) -> str:
        """`sd1`, `sd2`, `sdxl` or `other`."""
        return self.listed.summary.family or OTHER

    @property
    def short_hash(self) -> str:
        """A1111's, of what the header states; "" where it states none."""
        return (self.listed.tensor_hash or self.listed.summary.stated_hash)[:12]

    @property
    def version(self) -> int:
        """Another number when the file has changed."""
        return self.listed.modified


class Collection:
    """The adapters of `own` and of `further` folders, as they were when `refresh` last looked. Safe for threads.

    Links that lead out of all these folders are left out.

    An id is the file's name without the ending. Where a name comes twice, the first folder's file has it, and the
    others' have the folder's name behind it, and a number if need be.
    """

    def __init__(self, own: Path, further: Sequence[Path] = (), memory: Path | None = None) -> None:
        self.own = own
        self.further = tuple(further)
        self._memory = memory or default_memory()
        self._known: dict[str, Listed] | None = None
        self._notes: dict[str, tuple[tuple[int, int], Sidecar]] = {}
        self._lock = threading.Lock()
        self._items: dict[str, Item] = {}
        self._by_name: dict[str, Item] = {}  # by path
        self._searchable: dict[str, str] = {}

    def refresh(self) -> None:
        """Look into the folders again. What has not changed stays the same `Item`."""
        with self._lock:
            if self._known is None:
                self._known = recall(self._memory)
            items: dict[str, Item] = {}
            by_name: dict[str, Item] = {}
            for folder in (self.own, *self.further):
                for name, listed in scan(folder, self._known, self._memory).items():
                    # folders may lie in one another; a link to elsewhere would open any file
                    if name not in by_name and not (_is_link(name) and not self._is_inside(name)):
                        item = self._item(name, folder, listed, items)
                        items[item.id] = by_name[name] = item
            before = self._items
            self._searchable = {
                id: self._searchable[id] if before.get(id) is item else _words(item) for id, item in items.items()
            }
            self._items, self._by_name = items, by_name

    def items(self) -> list[Item]:
        """All of them; the own ones come first."""
        return list(self._items.values())

    def names(self) -> list[str]:
        """Their ids."""
        return list(self._items)

    def item(self, id: str) -> Item:
        """The adapter of an id, which is never followed as a path. Raises `Error` naming near ones."""
        if found := self._items.get(id):
            return found
        near = get_close_matches(id, self._items, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else "look for it in the library."
        raise Error(f"There is no adapter {id!r} in the library: {hint}")

    def path(self, id: str) -> Path:
        """The file of an id. Raises `Error` as `item` does, and where the file is gone."""
        path = self.item(id).path
        if not path.is_file():
            raise Error(f"The adapter {id} is no longer in {path.parent}: press Refresh in the library.")
        return path

    def search(
        self, text: str = "", *, family: str | None = None, own: bool | None = None, order: str = "name"
    ) -> list[Item]:
        """Those in whose names, trigger words, tags or notes every word of `text` occurs.

        `family` is one of `FAMILIES` or `OTHER`, `own` True or False, `order` one of `ORDERS`.
        """
        words, searchable = text.casefold().split(), self._searchable
        found = [
            item
            for item in self.items()
            if (family is None or item.family == family)
            and (own is None or item.own is own)
            and all(word in searchable.get(item.id, "") for word in words)
        ]
        if order == "newest":
            return sorted(found, key=lambda item: -item.listed.modified)
        if order == "largest":
            return sorted(found, key=lambda item: -item.listed.size)
        return sorted(found, key=lambda item: item.id.casefold())

    def _item(self, name: str, folder: Path, listed: Listed, taken: dict[str, Item]) -> Item:
        before, sidecar = self._by_name.get(name), self._sidecar(name)
        if before and before.listed is listed and before.sidecar is sidecar and before.folder == folder:
            id = _free_id(before.path, taken)
            return before if id == before.id else replace(before, id=id)
        path = Path(name)
        return Item(_free_id(path, taken), path, folder, folder == self.own, listed, sidecar)

    def _is_inside(self, name: str) -> bool:
        resolved = Path(name).resolve()
        return any(resolved.is_relative_to(folder.resolve()) for folder in (self.own, *self.further))

    def _sidecar(self, name: str) -> Sidecar:
        try:
            # as text: thousands of paths take longer to be made than to be looked at
            facts = os.stat(f"{name[: -len(SUFFIX)]}.json")  # noqa: PTH116
        except OSError:
            return NOTHING
        when = facts.st_mtime_ns, facts.st_size
        known = self._notes.get(name)
        if known is None or known[0] != when:
            known = self._notes[name] = when, read_sidecar(Path(name))
        return known[1]


def _is_link(name: str) -> bool:
    return os.path.islink(name)  # noqa: PTH114


def _free_id(path: Path, taken: dict[str, Item]) -> str:
    stem = path.stem
    if stem not in taken:
        return stem
    named = f"{stem} ({path.parent.name})"
    number, free = 1, named
    while free in taken:
        number += 1
        free = f"{named} {number}"
    return free


def _words(item: Item) -> str:
    """All that a search looks through."""
    summary, sidecar = item.listed.summary, item.sidecar
    parts = (
        item.id,
        item.path.parent.name,
        summary.trigger,
        summary.tags,
        summary.stated_hash[:12],
        sidecar.activation,
        sidecar.notes,
        sidecar.description,
    )
    return "\n".join(parts).casefold()
