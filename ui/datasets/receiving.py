"""Dropped files into a folder: images, captions, zip archives. Nothing in an archive is trusted, its names least."""

import shutil
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from sdlora.data.captions import METADATA, kohya_folder
from sdlora.data.captions import SUFFIXES as CAPTIONS
from sdlora.data.folder import OTHER_SUFFIXES
from sdlora.data.folder import SUFFIXES as IMAGES
from sdlora.data.images import upright_size
from sdlora.data.sample import is_holdout
from sdlora.errors import Error, printable
from sdlora.files import is_safe_name, size_text, write_atomically

MOST_FILES = 10_000
LARGEST_FILE, LARGEST_SUM = 256 * 10**6, 16 * 10**9  # bytes, unpacked
LARGEST_TEXT = 10**6  # bytes of a caption or a metadata.jsonl; a longer one is no caption
DEEPEST = 4  # folders within folders
CHUNK = 2**20
Opener = Callable[[], AbstractContextManager[IO[bytes]]]  # opens a file or an archive's entry
_ALLOWED = set(" -_()+,'")


@dataclass
class Received:
    """How many images and texts were taken, and what was `left_out`: name -> why."""

    images: int = 0
    texts: int = 0
    left_out: dict[str, str] = field(default_factory=dict)


def receive(files: Iterable[Path], folder: Path) -> Received:
    """Copy images and captions into `folder`, from archives too, with their folders. Names are made of letters, digits
    and a few signs, so that none can lead elsewhere.

    Raises `Error` where it is too much at once: what came before that is in the folder then.
    """
    receiver = _Receiver(folder)
    for path in files:
        if path.suffix.lower() == ".zip":
            receiver.unpack(path)
        else:
            receiver.take(path.name, PurePosixPath(path.name), path.stat().st_size, _file_opener(path))
    return receiver.done


class _Receiver:
    def __init__(self, folder: Path) -> None:
        self.done = Received()
        self._folder = folder
        self._files = self._bytes = 0

    def unpack(self, path: Path) -> None:
        try:
            with zipfile.ZipFile(path) as archive:
                entries = [entry for entry in archive.infolist() if not entry.is_dir() and not _hidden(entry.filename)]
                if len(entries) > MOST_FILES:
                    raise Error(f"{path.name} holds {len(entries)} files: at most {MOST_FILES} are taken")
                top = _common_folder(entry.filename for entry in entries)
                for entry in entries:
                    if entry.flag_bits & 1:
                        raise Error(f"{path.name} is encrypted: pack it anew without a password")
                    below = PurePosixPath(entry.filename.replace("\\", "/").removeprefix(top))
                    self.take(entry.filename, below, entry.file_size, _opener(archive, entry))
        except (zipfile.BadZipFile, NotImplementedError, OSError, EOFError, ValueError) as problem:
            raise Error(f"{path.name} can't be unpacked ({printable(str(problem), 100)}): pack it anew") from None

    def take(self, shown: str, below: PurePosixPath, size: int, opened: Opener) -> None:
        """One file; `below` is where it wants to lie, `size` what it says of itself."""
        shown = printable(shown, 100)
        suffix = below.suffix.lower()
        text = suffix in CAPTIONS or below.name.lower() == METADATA
        if not text and suffix not in IMAGES | OTHER_SUFFIXES:
            self.done.left_out[shown] = "it is neither an image nor a caption"
            return
        limit = LARGEST_TEXT if text else LARGEST_FILE
        if size > limit:
            self.done.left_out[shown] = f"it has {size_text(size)}, at most {size_text(limit)} are taken"
            return
        self._count(0)
        target = self._target(below, text)
        try:
            write_atomically(target, lambda path: self._copy(opened, path, limit, text))
        except _Refused as refusal:
            self.done.left_out[shown] = str(refusal)
            return
        self._files += 1
        if text:
            self.done.texts += 1
        else:
            self.done.images += 1

    def _copy(self, opened: Opener, path: Path, limit: int, text: bool) -> None:
        """Counts what really comes: an archive may say less of its entries."""
        with opened() as source, path.open("wb") as target:
            taken = 0
            while chunk := source.read(CHUNK):
                taken += len(chunk)
                self._count(len(chunk))
                if taken > limit:
                    raise _Refused(f"it has more than {size_text(limit)}")
                target.write(chunk)
        if not text:
            try:
                upright_size(path)
            except Error as problem:
                raise _Refused(str(problem).partition("(")[2].rpartition(")")[0] or "it is no image") from None

    def _count(self, taken: int) -> None:
        self._bytes += taken
        if self._files >= MOST_FILES:
            raise Error(f"these are more than {MOST_FILES} files: give fewer at once")
        if self._bytes > LARGEST_SUM:
            raise Error(f"these are more than {size_text(LARGEST_SUM)}: give less at once")
        if taken and shutil.disk_usage(_existing(self._folder)).free < 2 * CHUNK:
            raise Error("the disk is full: make room, then drop the files again")

    def _target(self, below: PurePosixPath, text: bool) -> Path:
        """A caption goes where its image's name says; an image never over another one."""
        folders = [part for part in below.parts[:-1] if part not in ("", ".", "..", "/")][-DEEPEST:]
        place = self._folder.joinpath(*map(safe_part, folders))
        if below.name.lower() == METADATA:
            return place / METADATA
        stem, suffix = safe_part(below.stem), below.suffix.lower()
        target, number = place / f"{stem}{suffix}", 1
        while not text and target.exists():
            number += 1
            target = place / f"{stem}-{number}{suffix}"
        return target


class _Refused(Exception):
    """One file is not taken, all others are."""


def safe_part(part: str) -> str:
    """A folder's or a file's name from letters, digits and a few signs; it can never be read as a way."""
    plain = unicodedata.normalize("NFC", part)
    kept = "".join(letter if letter.isalnum() or letter in _ALLOWED else "_" for letter in plain).strip(" ")[:80]
    kept = kept.strip(" ") or "_"
    return kept if is_safe_name(kept) else f"_{kept}"


def _opener(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Opener:
    return lambda: archive.open(entry)


def _file_opener(path: Path) -> Opener:
    return lambda: path.open("rb")


def _hidden(name: str) -> bool:
    """What macOS adds to archives, and hidden files."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return "__MACOSX" in parts or parts[-1].startswith(".")


def _common_folder(names: Iterable[str]) -> str:
    """`style/`, where all lie in it and it says nothing of its own (as kohya's `10_style` and `holdout` do)."""
    tops = {_top(name) for name in names}
    top = tops.pop() if len(tops) == 1 else ""
    return "" if not top or kohya_folder(top) or is_holdout(Path(top)) else f"{top}/"


def _top(name: str) -> str:
    first, slash, _ = name.replace("\\", "/").partition("/")
    return first if slash else ""


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())


def images_below(folder: Path) -> Iterator[Path]:
    """The image files in a folder and right below it."""
    for path in folder.iterdir():
        if path.is_dir() and not path.name.startswith("."):
            yield from (inner for inner in path.iterdir() if inner.suffix.lower() in IMAGES)
        elif path.suffix.lower() in IMAGES:
            yield path
