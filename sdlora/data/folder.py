"""A folder of captioned pictures, read into examples."""

import os
from collections import Counter
from collections.abc import Sized
from dataclasses import dataclass
from pathlib import Path

from sdlora.data.captions import (
    KohyaFolder,
    Row,
    caption_files,
    kohya_folder,
    metadata_rows,
    normal,
    read_caption,
    with_trigger,
)
from sdlora.data.images import broken_because
from sdlora.data.masks import mask_beside, without_masks
from sdlora.data.sample import is_holdout, resolve_folder
from sdlora.errors import Error

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
# Pictures too, which users expect to count: better listed as skipped than passed over in silence.
OTHER_SUFFIXES = frozenset({".gif", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jfif", ".jxl"})
SURPRISING_REPEATS = 1000


@dataclass(frozen=True)
class Example:
    """An image with its caption, seen `repeats` times an epoch; its loss counts `weight` times, and within it what is
    white in its `mask`. `lines` are the lines of a caption that has several, each as a caption of its own."""

    path: Path
    caption: str
    repeats: int = 1
    weight: float = 1.0
    mask: Path | None = None
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Skipped:
    """A file or folder that was not used, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Dataset:
    """What a folder holds; examples are in the order of their relative paths, the same on every system."""

    root: Path
    examples: tuple[Example, ...]
    skipped: tuple[Skipped, ...] = ()
    warnings: tuple[str, ...] = ()


def read_folder(folder: str | Path, trigger: str | None = None) -> Dataset:
    """Read the pictures (png, jpg, jpeg, webp, bmp) at any depth of `folder`, a path or `sample:NAME`.

    A caption comes from the `.txt` or `.caption` file beside the image, else from a `metadata.jsonl`, else from the
    name of kohya's `N_name` folder, else it is the trigger word; a caption without the trigger gets it in front.
    Folders named `holdout` below `folder` are left out; `folder` itself may be one.

    Raises Error where there is no folder, no image or none that can be read, for a leaf folder of kohya's, and for a
    damaged `metadata.jsonl`. Single broken images and unreadable captions are skipped and listed.
    """
    root, trigger = resolve_folder(folder), (trigger or "").strip() or None
    files, skipped = _files_below(root)
    images = without_masks([path for path in files if path.suffix.lower() in SUFFIXES])
    skipped += [
        Skipped(path, f"{path.suffix} files are not read, convert it to png or jpg")
        for path in files
        if path.suffix.lower() in OTHER_SUFFIXES
    ]
    _refuse_kohya_leaf(root, images)
    if not images:
        raise Error(f"There is no image in '{root}'{_in_words(skipped)}: it needs png, jpg, jpeg, webp or bmp files.")
    reader = _Reader(root, files, trigger)
    outcomes = [reader.read(path) for path in images]
    examples = [outcome for outcome in outcomes if isinstance(outcome, Example)]
    skipped += [outcome for outcome in outcomes if isinstance(outcome, Skipped)]
    if not examples:
        raise Error(f"None of the {len(images)} images in '{root}' can be used{_in_words(skipped)}.")
    return Dataset(root, tuple(examples), tuple(skipped), tuple(reader.warnings(examples)))


class _Reader:
    """Pairs images with captions; remembers which had none."""

    def __init__(self, root: Path, files: list[Path], trigger: str | None):
        self.root, self.trigger = root, trigger
        self.beside = caption_files(files)
        self.metadata = metadata_rows(root, files)
        self.without_caption: set[Path] = set()

    def read(self, path: Path) -> Example | Skipped:
        kohya = self._kohya(path)
        if kohya and kohya.repeats == 0:
            return Skipped(path, "its folder's name asks for 0 repeats")
        if reason := broken_because(path):
            return Skipped(path, f"the image cannot be read ({reason})")
        try:
            caption = self._caption(path, kohya)
        except Error as problem:
            return Skipped(path, f"its caption {str(problem).rstrip('.')}")
        if not caption:
            self.without_caption.add(path)
        repeats, weight = kohya.repeats if kohya else 1, self._row(path).weight
        lines = tuple(with_trigger(line, self.trigger) for line in caption.split("\n")) if "\n" in caption else ()
        whole = with_trigger(" ".join(caption.split()), self.trigger)
        return Example(path, whole, repeats, weight, mask_beside(path), lines)

    def warnings(self, examples: list[Example]) -> list[str]:
        found = []
        if self.without_caption:
            instead = f"the trigger word '{self.trigger}' stands in" if self.trigger else "they train an empty prompt"
            found.append(f"{len(self.without_caption)} of {len(examples)} images have no caption: {instead}.")
        stems = Counter((example.path.parent, normal(example.path.stem)) for example in examples)
        if shared := sorted(stem for (_, stem), count in stems.items() if count > 1):
            found.append(f"Images of the same name share one caption: {', '.join(shared[:5])}{_more(shared)}.")
        if lost := sorted(name for name in self.metadata if not (self.root / name).is_file()):
            found.append(
                f"metadata.jsonl names {len(lost)} files that are not there: {', '.join(lost[:5])}{_more(lost)}."
            )
        if (many := max(example.repeats for example in examples)) >= SURPRISING_REPEATS:
            found.append(f"A folder's name asks for {many} repeats (N_name, as kohya's): rename it if it is a date.")
        return found

    def _caption(self, path: Path, kohya: KohyaFolder | None) -> str:
        """The caption without the trigger; blank where there is none. Raises Error where it cannot be read."""
        beside = self.beside.get((path.parent, normal(path.stem)))
        return (read_caption(beside) if beside else "") or self._row(path).text or (kohya.name if kohya else "")

    def _row(self, path: Path) -> Row:
        return self.metadata.get(normal(path.relative_to(self.root).as_posix()), Row())

    def _kohya(self, path: Path) -> KohyaFolder | None:
        """The nearest folder above the image, within the root, that is named as kohya's are."""
        names = path.relative_to(self.root).parts[:-1]
        return next((found for name in reversed(names) if (found := kohya_folder(name))), None)


def _files_below(root: Path) -> tuple[list[Path], list[Skipped]]:
    """All files to consider, sorted by relative path in one Unicode form, and the folders that could not be listed."""
    files: list[Path] = []
    unreadable: list[Skipped] = []

    def note(problem: OSError) -> None:
        unreadable.append(Skipped(Path(problem.filename), "the folder cannot be opened"))

    for folder, below, names in os.walk(root, onerror=note):
        below[:] = [name for name in below if not _ignored(name) and not is_holdout(Path(name))]
        files += [Path(folder) / name for name in names if not _ignored(name)]
    files.sort(key=lambda path: (normal(path.relative_to(root).as_posix()), path.name))
    return files, unreadable


def _ignored(name: str) -> bool:
    """Hidden files, and what macOS adds to archives."""
    return name.startswith(".") or name == "__MACOSX"


def _refuse_kohya_leaf(root: Path, images: list[Path]) -> None:
    resolved = root.resolve()
    if kohya_folder(resolved.name) and any(path.parent == root for path in images):
        raise Error(
            f"'{root}' is itself one of kohya's N_name folders: give its parent '{resolved.parent}', "
            f"or rename it if '{resolved.name}' is not meant as repeats and a name."
        )


def _in_words(skipped: list[Skipped]) -> str:
    listed = "; ".join(f"{item.path.name}: {item.reason}" for item in skipped[:3])
    return f" ({listed}{_more(skipped, 3)})" if skipped else ""


def _more(items: Sized, shown: int = 5) -> str:
    return f" and {len(items) - shown} more" if len(items) > shown else ""
