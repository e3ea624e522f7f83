"""Every file of a folder, whatever it is: what training would look at, and what it passes over."""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from ..captions import METADATA, normal
from ..captions import SUFFIXES as CAPTIONS
from ..folder import OTHER_SUFFIXES
from ..folder import SUFFIXES as IMAGES
from ..sample import holdout_beside, is_holdout
from .findings import Finding

CLUTTER = frozenset({".ds_store", "thumbs.db", "desktop.ini", ".git", ".gitignore", ".gitattributes", ".sdlora"})
OTHER_METADATA = frozenset({"metadata.csv", "metadata.parquet", "captions.json", "meta_cap.json"})


@dataclass
class Listing:
    """`files` can be opened; `fates` says of each file and folder that was passed over why."""

    root: Path
    files: list[Path] = field(default_factory=list)
    fates: dict[Path, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def with_suffix(self, suffixes: frozenset[str] | tuple[str, ...]) -> list[Path]:
        """The files whose names end so, in any case."""
        return [path for path in self.files if path.suffix.lower() in suffixes]

    def name(self, path: Path) -> str:
        """A path below the root as people read it."""
        return path.relative_to(self.root).as_posix()

    def note(self, kind: str, path: Path, fate: str, sentence: str) -> None:
        """A file that is passed over, and a finding that says so."""
        self.fates[path] = fate
        self.findings.append(Finding(kind, self.name(path), sentence))


def list_folder(root: Path) -> Listing:
    """Look at every name below `root`; nothing in there is fatal."""
    listing = Listing(root)

    def unlistable(problem: OSError) -> None:
        path = Path(problem.filename)
        listing.note("unreadable-folder", path, "not opened", "The folder can't be opened: mend its permissions.")

    for folder, below, names in os.walk(root, onerror=unlistable):
        here = Path(folder)
        below[:] = [name for name in sorted(below) if _enter(listing, here / name)]
        for name in sorted(names):
            if _is_readable(listing, here / name):
                _sort_in(listing, here / name)
    listing.files.sort(key=lambda path: (normal(listing.name(path)), path.name))
    return listing


def _enter(listing: Listing, path: Path) -> bool:
    if _is_hidden(path.name):
        _hidden(listing, path, "folder")
    elif is_holdout(path):
        _held_out(listing, path)
    elif path.is_symlink():
        listing.note(
            "linked-folder", path, "a link, not followed", "The folder is a link, which is not followed: copy it here."
        )
    else:
        return True
    return False


def _held_out(listing: Listing, path: Path) -> None:
    if path == holdout_beside(listing.root):
        listing.note("held-out", path, "held out", "Its images are held out: training is judged by them.")
    else:
        listing.note(
            "stray-holdout",
            path,
            "left out, and held out for nothing",
            "A holdout folder counts only right inside the images' folder: none of its images is used; move "
            "or rename it.",
        )


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _hidden(listing: Listing, path: Path, what: str) -> None:
    if path.name.lower() in CLUTTER or path.name.startswith("._") or path.name == "__MACOSX":
        listing.fates[path] = "passed over: the system's, not yours"
    else:
        listing.note(
            "hidden",
            path,
            "hidden, left out",
            f"A {what} whose name begins with a dot is left out: rename it to train on it.",
        )


def _is_readable(listing: Listing, path: Path) -> bool:
    if _is_hidden(path.name):
        _hidden(listing, path, "file")
        return False
    try:
        mode = path.stat().st_mode
    except OSError as problem:
        if path.is_symlink():
            listing.note("broken-link", path, "not used: a link to nothing", "It links to a file that is not there.")
        else:
            _unreadable(listing, path, problem)
        return False
    if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
        listing.note("not-a-file", path, "not used: no ordinary file", "It is a pipe or a device, no file: remove it.")
        return False
    try:
        path.open("rb").close()
    except OSError as problem:
        _unreadable(listing, path, problem)
        return False
    return True


def _unreadable(listing: Listing, path: Path, problem: OSError) -> None:
    why = problem.strerror or type(problem).__name__
    listing.note("unreadable", path, "not used: can't be opened", f"It can't be opened ({why}): mend its permissions.")


def _sort_in(listing: Listing, path: Path) -> None:
    suffix = path.suffix.lower()
    if suffix in IMAGES or suffix in CAPTIONS or path.name.lower() == METADATA:
        listing.files.append(path)
    elif path.name.lower() in CLUTTER:
        listing.fates[path] = "passed over: the system's, not yours"
    elif suffix in OTHER_SUFFIXES:
        listing.note(
            "format-not-read",
            path,
            f"not used: {suffix} is not read",
            f"{suffix} files are not read: convert it to png or jpg (--fix does it for gif, tiff and jfif).",
        )
    elif path.name.lower() in OTHER_METADATA:
        listing.note(
            "metadata-other-format",
            path,
            "not used",
            f"Captions are not read from it: write {METADATA}, a line of JSON for each image, or .txt files.",
        )
    else:
        listing.note("not-used", path, "not used: neither image nor caption", "It is neither an image nor a caption.")
