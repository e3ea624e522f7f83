"""What was done to a folder's captions: `.sdlora/captions.jsonl` in it, so that all of it can be taken back.

A line is written, and on disk, before the caption that it tells of: a process killed at any moment leaves nothing that
can't be undone.
"""

import base64
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..files import write_atomically, write_text

PLACE = Path(".sdlora", "captions.jsonl")


@dataclass(frozen=True)
class Change:
    """One caption file before and after (bytes; None: no file). `operation` numbers the command that did it, `by` says
    what did it; `described` is True where a model wrote it, which nobody has reviewed."""

    operation: int
    file: str
    before: bytes | None
    after: bytes
    by: str
    described: bool
    when: str


Event = Change | tuple[str, ...]  # or files that somebody has reviewed


class Journal:
    """The changes of one folder and what was reviewed, oldest first."""

    def __init__(self, root: Path) -> None:
        self._root, self._path = root, root / PLACE
        self._events = [_event(row) for row in _rows(self._path)]

    @property
    def changes(self) -> list[Change]:
        """All that can be taken back."""
        return [event for event in self._events if isinstance(event, Change)]

    def next_operation(self) -> int:
        """A number for a new command's changes."""
        return max((change.operation for change in self.changes), default=0) + 1

    def write(self, operation: int, file: str, text: str, by: str, *, described: bool) -> None:
        """Put a caption in its file, and what was there before in the journal."""
        path = self._root / file
        before = path.read_bytes() if path.is_file() else None
        now = datetime.now(UTC).isoformat(timespec="seconds")
        change = Change(operation, file, before, f"{text}\n".encode(), by, described, now)
        self._append(change)
        write_atomically(path, lambda target: target.write_bytes(change.after))

    def undo(self, *, everything: bool) -> tuple[list[str], list[str]]:
        """Take back the last command, or all: names of files as they were before, and of those left alone because
        somebody has changed them since."""
        last = self.next_operation() - 1
        undone = [change for change in reversed(self.changes) if everything or change.operation == last]
        restored, kept = [], []
        for change in undone:
            path = self._root / change.file
            now = path.read_bytes() if path.is_file() else None
            if now == change.after:
                _restore(path, change.before)
            elif now != change.before:  # equal: it was killed before it wrote, or in the middle of an undo
                kept.append(change.file)
                continue
            restored.append(change.file)
        self._events = [event for event in self._events if event not in undone]
        self._rewrite()
        return list(dict.fromkeys(restored)), list(dict.fromkeys(kept))

    def unreviewed(self) -> list[str]:
        """Files whose text is a model's, which nobody has edited by hand or called reviewed; bulk edits are neither."""
        waiting: dict[str, bytes] = {}  # file -> what it has to hold to be still as it was left
        for event in self._events:
            if isinstance(event, tuple):
                waiting = {file: text for file, text in waiting.items() if file not in event}
            elif event.described or (event.file in waiting and waiting[event.file] == event.before):
                waiting[event.file] = event.after
            else:
                waiting.pop(event.file, None)
        return sorted(file for file, text in waiting.items() if _holds(self._root / file, text))

    def review(self, files: Sequence[str]) -> None:
        """Somebody has looked at these."""
        if files:
            self._append(tuple(files))

    def _append(self, event: Event) -> None:
        self._path.parent.mkdir(exist_ok=True)
        cut_off = self._path.is_file() and not self._path.read_bytes().endswith(b"\n")
        with self._path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(("\n" if cut_off else "") + _line(event))
            file.flush()
            os.fsync(file.fileno())
        self._events.append(event)

    def _rewrite(self) -> None:
        if self.changes:
            write_text(self._path, "".join(map(_line, self._events)))
            return
        self._path.unlink(missing_ok=True)
        if self._path.parent.is_dir() and not any(self._path.parent.iterdir()):
            self._path.parent.rmdir()


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # cut off while it was written, so what it tells of was never done
            continue
        if isinstance(row, dict):
            yield row


def _event(row: dict[str, Any]) -> Event:
    if "reviewed" in row:
        return tuple(row["reviewed"])
    return Change(**(row | {"before": _bytes(row["before"]), "after": _bytes(row["after"]) or b""}))


def _line(event: Event) -> str:
    if isinstance(event, tuple):
        row: dict[str, Any] = {"reviewed": event}
    else:
        row = asdict(event) | {"before": _plain(event.before), "after": _plain(event.after)}
    return json.dumps(row, ensure_ascii=False) + "\n"


def _plain(content: bytes | None) -> Any:
    """Text where it is UTF-8, so that a person can read the journal; else base64."""
    if content is None:
        return None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode("ascii")}


def _bytes(plain: Any) -> bytes | None:
    if plain is None:
        return None
    return plain.encode("utf-8") if isinstance(plain, str) else base64.b64decode(plain["base64"])


def _restore(path: Path, before: bytes | None) -> None:
    if before is None:
        path.unlink()
    else:
        write_atomically(path, lambda target: target.write_bytes(before))


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content
