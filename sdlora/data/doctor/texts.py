"""Text files in whatever encoding they were saved."""

import codecs
from dataclasses import dataclass

_MARKS = {
    codecs.BOM_UTF8: ("utf-8", "UTF-8 with a byte-order mark"),
    codecs.BOM_UTF16_LE: ("utf-16-le", "UTF-16"),
    codecs.BOM_UTF16_BE: ("utf-16-be", "UTF-16"),
}


@dataclass(frozen=True)
class Decoded:
    """A text, the encoding that it was in as people call it, and whether training reads that."""

    text: str
    encoding: str
    readable: bool


def decode(raw: bytes) -> Decoded:
    """Make text of bytes: UTF-8 where it can be, else what it most likely is. Never raises."""
    for mark, (codec, name) in _MARKS.items():
        if raw.startswith(mark):
            return Decoded(raw[len(mark) :].decode(codec, "replace"), name, codec == "utf-8" and _is_utf8(raw))
    if b"\0" in raw:  # every other byte of UTF-16's Latin letters is zero
        little = raw[1::2].count(0) >= raw[0::2].count(0)
        return Decoded(raw.decode("utf-16-le" if little else "utf-16-be", "replace"), "UTF-16", False)
    if _is_utf8(raw):
        return Decoded(raw.decode("utf-8"), "UTF-8", True)
    try:
        return Decoded(raw.decode("cp1252"), "Latin-1 (Windows-1252)", False)
    except UnicodeDecodeError:
        return Decoded(raw.decode("latin-1"), "no encoding that is known (read as Latin-1)", False)


def tidy(text: str) -> str:
    """Lines without what is too much between words, and without empty ones."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return b"\0" not in raw
