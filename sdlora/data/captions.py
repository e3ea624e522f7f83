"""Where captions come from: files beside the images, `metadata.jsonl`, kohya's folder names."""

import json
import math
import posixpath
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from sdlora.errors import Error

SUFFIXES = (".txt", ".caption")
METADATA = "metadata.jsonl"
_KOHYA = re.compile(r"(\d+)_(.+)")


class KohyaFolder(NamedTuple):
    """What kohya's sd-scripts reads out of a folder name such as `10_clay`: ten repeats, caption `clay`."""

    repeats: int
    name: str


def normal(name: str) -> str:
    """A name in one Unicode form: macOS stores é as two characters, other systems as one."""
    return unicodedata.normalize("NFC", name)


def kohya_folder(name: str) -> KohyaFolder | None:
    """Parse `N_name`; None for other names."""
    match = _KOHYA.fullmatch(name)
    return KohyaFolder(int(match[1]), match[2].strip()) if match else None


def caption_files(files: Iterable[Path]) -> dict[tuple[Path, str], Path]:
    """(folder, stem) -> caption file; `.txt` wins over `.caption`."""
    found: dict[tuple[Path, str], Path] = {}
    for suffix in reversed(SUFFIXES):
        found |= {(path.parent, normal(path.stem)): path for path in files if path.suffix.lower() == suffix}
    return found


class Row(NamedTuple):
    """What a `metadata.jsonl` says of an image."""

    text: str = ""
    weight: float = 1.0


def read_caption(path: Path) -> str:
    """A caption file's text, its lines without what is too much between words. Raises Error where it is not UTF-8."""
    return _tidy(_read_utf8(path))


def metadata_rows(root: Path, files: Iterable[Path]) -> dict[str, Row]:
    """Image path relative to `root` (posix, NFC) -> its row, from each `metadata.jsonl` of the Hugging Face
    image-folder convention (`file_name` is relative to that file's folder), with a `weight` beside it.

    Raises Error, naming file and line, for a line that is not such a row.
    """
    captions: dict[str, Row] = {}
    for metadata in files:
        if metadata.name.lower() == METADATA:
            folder = metadata.parent.relative_to(root).as_posix()
            for file_name, row in _rows(metadata):
                captions[normal(posixpath.normpath(posixpath.join(folder, file_name)))] = row
    return captions


def with_trigger(caption: str, trigger: str | None) -> str:
    """The caption with the trigger in front, unless it is in there already as a whole phrase in any case."""
    if not trigger or re.search(rf"(?<!\w){re.escape(trigger)}(?!\w)", caption, re.IGNORECASE):
        return caption
    return f"{trigger}, {caption}" if caption else trigger


def without_trigger(caption: str, trigger: str) -> str:
    """The caption with the trigger taken out, and the comma that set it off: what `with_trigger` puts in."""
    rest = re.sub(rf"(?<!\w){re.escape(trigger)}(?!\w)", "", caption, flags=re.IGNORECASE)
    return ", ".join(part for part in (" ".join(piece.split()) for piece in rest.split(",")) if part)


def _rows(metadata: Path) -> Iterator[tuple[str, Row]]:
    for number, line in enumerate(_read_utf8(metadata).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as problem:
            raise Error(f"Line {number} of '{metadata}' is not JSON ({problem}): correct or remove it.") from problem
        if not isinstance(row, dict) or not isinstance(row.get("file_name"), str):
            raise Error(f"Line {number} of '{metadata}' has no `file_name`: each line needs `file_name` and `text`.")
        weight = row.get("weight", 1.0)
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
            raise Error(f"Line {number} of '{metadata}' has the weight {weight!r}: give a number from 0 on.")
        text = row.get("text")
        yield row["file_name"].replace("\\", "/"), Row(_tidy(text) if isinstance(text, str) else "", float(weight))


def _tidy(text: str) -> str:
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def _read_utf8(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as problem:
        raise Error(f"'{path}' cannot be read as UTF-8 text: save it again as UTF-8.") from problem
    if "\0" in text:  # UTF-16 without its mark: half of the bytes are zero
        raise Error(f"'{path}' cannot be read as UTF-8 text: save it again as UTF-8.")
    return text
