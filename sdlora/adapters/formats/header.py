"""The header of a safetensors file, checked by ourselves before anything is allocated. Imports no torch.

A file is an 8-byte little-endian length, a JSON header of that length, then the tensors' bytes without gaps.
Format: https://github.com/huggingface/safetensors#format
"""

import json
import math
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import Error
from ...files import write_atomically

LENGTH_BYTES = 8
# The largest honest adapters have some 10,000 tensors; tags and a thumbnail add a few megabytes. These bounds keep a
# hostile header within 50 MB of memory, whatever it is made of: one emoji makes every character of a text take 4 bytes.
LARGEST_HEADER = 5_000_000  # bytes
MOST_TENSORS = 20_000
MOST_ENTRIES = 100_000  # of all JSON objects together
MOST_VALUES = 200_000
DTYPE_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I16": 2,
    "U16": 2,
    "F16": 2,
    "BF16": 2,
    "I32": 4,
    "U32": 4,
    "F32": 4,
    "I64": 8,
    "U64": 8,
    "F64": 8,
}
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor as the header describes it; `start` and `end` are offsets behind the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int = 0
    end: int = 0


@dataclass(frozen=True)
class Header:
    """What a file says before its tensors: each tensor's place, and the metadata. `length` is the JSON's, in bytes."""

    entries: dict[str, Entry]
    metadata: dict[str, str]
    length: int

    @property
    def data_start(self) -> int:
        """Where the tensors' bytes begin in the file."""
        return LENGTH_BYTES + self.length


def read_header(path: Path) -> Header:
    """The header of a file, every length, shape and offset checked; the tensors are not touched.

    Raises `Error` naming the file when it is missing, cut off, too large to be an adapter's, or makes no sense.
    """
    if not path.is_file():
        raise Error(f"there is no adapter file {path}")
    try:
        return _read(path)
    except OSError as problem:
        raise Error(f"{path} can't be read: {problem.strerror or problem}") from None


def glance(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The header's own words for each tensor, and the metadata, for lists of many files: places are not checked.

    Raises `Error` as `read_header` does, and `OSError`.
    """
    content, _ = _content(path)
    try:
        return content, _metadata(content.pop("__metadata__", None))
    except _Broken as problem:
        raise _no_header(path, problem) from None


def write_metadata(path: Path, metadata: dict[str, str]) -> None:
    """Give a file this metadata, atomically. The tensors' bytes stay, and so does the hash that A1111 knows it by."""
    content, old_length = _content(path)
    header = json.dumps(content | {"__metadata__": metadata}, ensure_ascii=False, separators=(",", ":")).encode()
    header += b" " * (-len(header) % LENGTH_BYTES)  # the format aligns the tensors
    if len(header) > LARGEST_HEADER:
        raise Error(f"{path}: its header would be {len(header)} bytes long, more than the {LARGEST_HEADER} allowed")

    def write(target: Path) -> None:
        with path.open("rb") as old, target.open("wb") as new:
            old.seek(LENGTH_BYTES + old_length)
            new.write(len(header).to_bytes(LENGTH_BYTES, "little") + header)
            shutil.copyfileobj(old, new, 1 << 22)

    write_atomically(path, write)


def _read(path: Path) -> Header:
    content, length = _content(path)
    try:
        metadata = _metadata(content.pop("__metadata__", None))
        entries = {key: _entry(key, value) for key, value in content.items()}
        _check_places(entries, path.stat().st_size - LENGTH_BYTES - length)
    except _Broken as problem:
        raise _no_header(path, problem) from None
    return Header(entries, metadata, length)


def _content(path: Path) -> tuple[dict[str, Any], int]:
    """The header as JSON, and its length in bytes."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        if size < LENGTH_BYTES or length > size - LENGTH_BYTES:
            raise Error(f"{path} is cut off, or no safetensors file: its header would be {length} bytes long")
        if length > LARGEST_HEADER:
            raise Error(f"{path} is no adapter: its header is {length} bytes long, more than {LARGEST_HEADER}")
        raw = file.read(length)
    try:
        return _parse(raw), length
    except _Broken as problem:
        raise _no_header(path, problem) from None


def _no_header(path: Path, problem: Exception) -> Error:
    return Error(f"{path} is not a safetensors file that can be read: {problem}")


class _Broken(Exception):
    """Why a header makes no sense."""


def _parse(raw: bytes) -> dict[str, Any]:
    _check_size(raw)
    try:
        content = json.loads(raw.decode("utf-8"), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError):
        raise _Broken("its header is not JSON") from None
    if not isinstance(content, dict):
        raise _Broken("its header is not a JSON object")
    return content


def _check_size(raw: bytes) -> None:
    """Count what the JSON will be made of before it is made."""
    if raw.count(b'"data_offsets"') > MOST_TENSORS:
        raise _Broken(f"its header lists more than {MOST_TENSORS} tensors")
    at_least_strings = raw.count(b'"') - raw.count(b'\\"')  # every string has a quote that no backslash precedes
    if at_least_strings > 2 * MOST_VALUES:
        raise _Broken("its header has more entries than any adapter's")
    # taking the strings out costs a while, and is seldom needed
    if not _fits(raw) and not _fits(_STRING.sub(b"", raw)):
        raise _Broken("its header has more entries than any adapter's")


def _fits(raw: bytes) -> bool:
    return raw.count(b":") <= MOST_ENTRIES and sum(map(raw.count, (b"{", b"[", b","))) <= MOST_VALUES


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object as a dictionary; which of two values of a key was meant, nobody can say."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Broken("its header has a key twice")
    return found


def _metadata(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise _Broken("its metadata are not texts by name")
    for key, text in value.items():
        _check_text(key)
        _check_text(text)
    return value


def _check_text(text: str) -> None:
    """JSON can escape halves of characters, which no file, terminal or page can show."""
    try:
        if not text.isascii():
            text.encode("utf-8")
    except UnicodeEncodeError:
        raise _Broken("its header holds half a character") from None


def _entry(key: str, value: Any) -> Entry:
    _check_text(key)
    name = key if len(key) <= 100 else f"{key[:100]}…"
    if not isinstance(value, dict) or not {"dtype", "shape", "data_offsets"} <= value.keys():
        raise _Broken(f"its header does not describe the tensor {name!r}")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        raise _Broken(f"the tensor {name!r} is of an unknown dtype")
    if not _counts(shape) or not _counts(offsets) or len(offsets) != 2:
        raise _Broken(f"the tensor {name!r} has no shape and place in the file")
    if math.prod(shape) * DTYPE_BYTES[dtype] != offsets[1] - offsets[0] or math.prod(n or 1 for n in shape) > 2**48:
        raise _Broken(f"the tensor {name!r} has a shape that does not go with its place in the file")
    return Entry(dtype, tuple(shape), offsets[0], offsets[1])


def _counts(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 16 and all(type(n) is int and 0 <= n < 2**63 for n in value)


def _check_places(entries: dict[str, Entry], size: int) -> None:
    """The tensors follow each other without gap or overlap, and fill the file."""
    position = 0
    for entry in sorted(entries.values(), key=lambda entry: (entry.start, entry.end)):
        if entry.start != position:
            raise _Broken("its tensors overlap or leave gaps")
        position = entry.end
    if position > size:
        raise _Broken(f"it is cut off: {position} bytes of tensors are listed, {size} are there")
    if position < size:
        raise _Broken(f"{size - position} bytes follow behind its tensors")
