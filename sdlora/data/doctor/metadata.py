"""`metadata.jsonl` line by line, so that one wrong line hides nothing of the others."""

import json
import math
import posixpath
from dataclasses import dataclass, field
from typing import Any

from ..captions import METADATA, normal
from .findings import Finding
from .listing import Listing
from .texts import decode, tidy

REFUSED = "training refuses the folder until it is mended"


@dataclass(frozen=True)
class Row:
    """What a line says of an image."""

    text: str
    weight: float
    place: str


@dataclass
class Metadata:
    """All rows by the image's path below the root (posix, NFC); the last one of an image counts."""

    rows: dict[str, Row] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def read_metadata(listing: Listing) -> Metadata:
    """Every `metadata.jsonl` of a folder."""
    found = Metadata()
    for path in listing.files:
        if path.name.lower() == METADATA:
            listing.fates[path] = "captions and weights"
            _read(listing, found, listing.name(path), path.read_bytes())
    for name, row in found.rows.items():
        if not (listing.root / name).is_file():
            found.findings.append(
                Finding("metadata-missing-file", row.place, f"It names {name}, which is not there: correct the name.")
            )
        elif row.weight == 0:
            found.findings.append(Finding("weight-zero", name, f"Its weight is 0 ({row.place}): it teaches nothing."))
    return found


def _read(listing: Listing, found: Metadata, name: str, raw: bytes) -> None:
    decoded = decode(raw)
    if not decoded.readable:
        found.findings.append(
            Finding("metadata-not-utf8", name, f"It is in {decoded.encoding}, and {REFUSED}: save it as UTF-8.")
        )
    for number, line in enumerate(decoded.text.split("\n"), start=1):
        if line.strip():
            _read_line(found, posixpath.dirname(name), f"{name}, line {number}", line)


def _read_line(found: Metadata, folder: str, place: str, line: str) -> None:
    try:
        row = json.loads(line)
    except ValueError as problem:
        found.findings.append(
            Finding("metadata-not-json", place, f"It is not JSON ({problem}), and {REFUSED}: correct or remove it.")
        )
        return
    if not isinstance(row, dict) or not isinstance(row.get("file_name"), str):
        sentence = f"It has no `file_name`, and {REFUSED}: each line needs `file_name` and `text`."
        found.findings.append(Finding("metadata-no-file-name", place, sentence))
        return
    weight = row.get("weight", 1.0)
    if not _is_weight(weight):
        sentence = f"Its weight is {weight!r}, and {REFUSED}: give a number from 0 on."
        found.findings.append(Finding("metadata-bad-weight", place, sentence))
        weight = 1.0
    name = normal(posixpath.normpath(posixpath.join(folder, row["file_name"].replace("\\", "/"))))
    if name in found.rows:
        sentence = f"{name} was named before ({found.rows[name].place}): this line counts; remove one of them."
        found.findings.append(Finding("metadata-twice", place, sentence))
    text = row.get("text")
    found.rows[name] = Row(tidy(text) if isinstance(text, str) else "", float(weight), place)


def _is_weight(weight: Any) -> bool:
    return isinstance(weight, int | float) and not isinstance(weight, bool) and 0 <= weight < math.inf
