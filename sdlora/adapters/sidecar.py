"""What people note beside an adapter file: A1111's `name.json`, and a picture of the same name. Imports no torch.

The keys are those of A1111's "edit metadata" dialogue (extensions-builtin/Lora/ui_edit_user_metadata.py); others that
are in a file stay in it.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import Error
from ..files import write_text

ACTIVATION, NEGATIVE, WEIGHT, NOTES, DESCRIPTION = (
    "activation text",
    "negative text",
    "preferred weight",
    "notes",
    "description",
)
LARGEST = 1_000_000  # bytes; a sidecar has a few hundred
LONGEST = 20_000  # characters of one text
HEAVIEST = 10.0
# ComfyUI's users and A1111's write the same two kinds of names; the first that is there counts.
PREVIEWS = tuple(f"{middle}{end}" for middle in (".preview", "") for end in (".png", ".jpg", ".jpeg", ".webp"))


@dataclass(frozen=True)
class Sidecar:
    """`activation` are the trigger words, `weight` the preferred one, None where none is noted."""

    activation: str = ""
    negative: str = ""
    weight: float | None = None
    notes: str = ""
    description: str = ""


def sidecar_file(adapter: Path) -> Path:
    """Where an adapter's notes are."""
    return adapter.with_suffix(".json")


def read_sidecar(adapter: Path) -> Sidecar:
    """The notes on an adapter file; whatever is wrong with them, they are as if there were none."""
    content = _content(sidecar_file(adapter))
    texts = (content.get(key) for key in (ACTIVATION, NEGATIVE, NOTES, DESCRIPTION))
    activation, negative, notes, description = (t[:LONGEST] if isinstance(t, str) else "" for t in texts)
    weight = content.get(WEIGHT)
    real = isinstance(weight, int | float) and not isinstance(weight, bool) and math.isfinite(weight)
    # A1111 writes 0 where nothing was set
    preferred = float(weight) if real and weight and abs(weight) <= HEAVIEST else None
    return Sidecar(activation, negative, preferred, notes, description)


def write_sidecar(adapter: Path, sidecar: Sidecar) -> Path:
    """Note this beside the file, atomically, leaving what else is noted there. Raises `Error` for what can't be."""
    if sidecar.weight is not None and not (math.isfinite(sidecar.weight) and abs(sidecar.weight) <= HEAVIEST):
        raise Error(f"a preferred weight of {sidecar.weight} can't be: give {-HEAVIEST:g} to {HEAVIEST:g}")
    texts = {
        ACTIVATION: sidecar.activation,
        NEGATIVE: sidecar.negative,
        NOTES: sidecar.notes,
        DESCRIPTION: sidecar.description,
    }
    if long := next((key for key, text in texts.items() if len(text) > LONGEST), None):
        raise Error(f"the {long} of {adapter.stem} has {len(texts[long])} characters: {LONGEST} are allowed")
    path = sidecar_file(adapter)
    if not (there := _content(path)) and path.exists():
        raise Error(f"{path} is there and is no JSON object of notes, as A1111's are: move it elsewhere first")
    content = there | texts | {WEIGHT: sidecar.weight or 0}
    write_text(path, json.dumps(content, ensure_ascii=False, indent=4) + "\n")
    return path


def preview_file(adapter: Path) -> Path | None:
    """The picture beside an adapter file, None where there is none."""
    return next((path for end in PREVIEWS if (path := adapter.with_suffix(end)).is_file()), None)


def companions(adapter: Path) -> list[Path]:
    """The files beside an adapter file that belong to it and are there: notes and pictures."""
    beside = (sidecar_file(adapter), *(adapter.with_suffix(end) for end in PREVIEWS))
    return [path for path in beside if path.is_file()]


def _content(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(LARGEST + 1)[:LARGEST].decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
