"""Files that are either the old one or the new one, never half of either."""

import os
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

RESERVED = {"con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10))}


def is_safe_name(name: str) -> bool:
    """Whether a name may become a file or a folder: it holds nothing that a system forbids or reads as a way."""
    return not (
        not re.fullmatch(r"[^/\\:*?\"<>|\x00-\x1f]{1,100}", name)
        or name.startswith((" ", "."))
        or name.endswith((" ", "."))
        or name.split(".")[0].strip().lower() in RESERVED
    )


def replace(source: Path, target: Path) -> None:
    """`os.replace`, tried again on Windows, where a reader or a virus scanner may hold the target for a moment."""
    for attempt in range(20):
        try:
            os.replace(source, target)
            return
        except PermissionError:
            if attempt == 19 or os.name != "nt":
                raise
            time.sleep(0.05 * (attempt + 1))


def write_atomically(target: Path, write: Callable[[Path], object]) -> None:
    """Have `write` fill a temporary file beside `target`, flush it to disk, then put it in the target's place.

    A process killed at any moment leaves the old file or the new one.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_folder_atomically(target: Path, fill: Callable[[Path], object]) -> None:
    """Have `fill` fill a temporary folder beside `target`, then put it in the place of `target`, whatever was there.

    An old folder is moved aside before and removed afterwards; a process killed in between leaves it hidden beside.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp") as name:
        new, old = Path(name) / "new", Path(name) / "old"
        new.mkdir()
        fill(new)
        if target.exists():
            replace(target, old)
        replace(new, target)


def write_text(target: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomically(target, lambda path: path.write_text(text, encoding="utf-8", newline="\n"))


def size_text(size: int) -> str:
    """Bytes as people read them: 37.7 MB."""
    for unit, bytes_in_it in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= bytes_in_it:
            return f"{size / bytes_in_it:.1f} {unit}"
    return f"{size} bytes"


def _umask() -> int:
    """The process's umask; `mkstemp` makes private files, and an adapter is meant to be shared."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
