"""First looks at a mix: files that a page shows for a moment."""

from contextlib import suppress
from pathlib import Path

KEPT = 32  # the newest of all users together


class Drafts:
    """A folder in which the newest few files are kept. Used by the device's thread alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def place(self, name: str) -> Path:
        """Where to put a new file, whose name sorts behind those of the others. The oldest is let go."""
        for old in sorted(self._folder.glob("*.png"))[: -KEPT + 1]:
            with suppress(OSError):  # on Windows, while somebody reads it
                old.unlink()
        return self._folder / name
