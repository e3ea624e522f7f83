"""Names of files and folders that are trouble: on another system, or by what kohya's trainer reads in them."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from ..captions import kohya_folder, normal
from ..folder import SURPRISING_REPEATS
from .findings import Finding

_FORBIDDEN = frozenset('<>:"\\|?*')
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10))})


def name_findings(root: Path, names: Sequence[str], images: Sequence[str]) -> Iterator[Finding]:
    """`names` are files' paths below `root`, posix, `images` those of the images among them."""
    yield from _collisions(names)
    for name in names:
        yield from _of_one(name)
    yield from _folders(root, images)


def _collisions(names: Sequence[str]) -> Iterator[Finding]:
    alike: dict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[normal(name).casefold()].append(name)
    for found in alike.values():
        if len(found) > 1:
            others = ", ".join(PurePosixPath(name).name for name in found[1:])
            yield Finding(
                "case-collision",
                found[0],
                f"On Windows and macOS {others} is the same name: rename it, or one of them is lost.",
            )


def _of_one(name: str) -> Iterator[Finding]:
    parts = PurePosixPath(name).parts
    if any(is_forbidden(part) for part in parts):
        yield Finding("windows-name", name, "Windows can't have such a name: rename it if you share the folder.")
    if not name.isascii():
        yield Finding(
            "non-ascii-name", name, "Its name has letters beyond ASCII: no trouble here, but for some other tools."
        )


def is_forbidden(part: str) -> bool:
    """Whether Windows forbids the name of a file or folder."""
    return (
        bool(_FORBIDDEN & set(part))
        or any(ord(letter) < 32 for letter in part)
        or part.endswith((" ", "."))
        or part.split(".")[0].strip().casefold() in _DEVICES
    )


def _folders(root: Path, images: Sequence[str]) -> Iterator[Finding]:
    if (own := kohya_folder(root.resolve().name)) and any("/" not in name for name in images):
        yield Finding(
            "kohya-leaf",
            "",
            f"The folder is itself one of kohya's ({own.repeats} repeats of '{own.name}'), and training refuses it: "
            "give its parent, or rename it.",
        )
    folders = {str(parent) for name in images for parent in PurePosixPath(name).parents if parent.name}
    for folder in sorted(folders):
        found = kohya_folder(PurePosixPath(folder).name)
        if found and found.repeats == 0:
            yield Finding("no-repeats", folder, "Its name asks for 0 repeats, so its images are left out: rename it.")
        elif found and found.repeats >= SURPRISING_REPEATS:
            yield Finding(
                "many-repeats",
                folder,
                f"Its name asks for {found.repeats:,} repeats of each image: rename it if the number is a date.",
            )
