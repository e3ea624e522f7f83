"""What a run began with, so that a resume can say what has changed since: images and captions by their contents."""

import hashlib
import json
from pathlib import Path

from ..data.folder import Example
from ..files import write_text
from .material import Material
from .run_folder import RunFolder

SHOWN = 5


def write_record(run: RunFolder, material: Material) -> None:
    """Note what the run trains on and holds out."""
    write_text(run.path / "images.json", json.dumps(_record(material), indent=1, ensure_ascii=False) + "\n")


def what_changed(run: RunFolder, material: Material) -> str | None:
    """A sentence that names what was added, removed or edited since the run began; None where nothing was, or where it
    was not noted."""
    try:
        before = json.loads((run.path / "images.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    now = _record(material)
    both = [path for path in now if path in before]
    found = {
        "added": [path for path in now if path not in before],
        "removed": [path for path in before if path not in now],
        "edited": [path for path in both if now[path]["image"] != before[path]["image"]],
        "with other captions": [path for path in both if now[path]["text"] != before[path]["text"]],
        "held out or no longer so": [path for path in both if now[path]["held_out"] != before[path]["held_out"]],
    }
    told = [f"{what}: {_listed(paths)}" for what, paths in found.items() if paths]
    if not told:
        return None
    return (
        f"since the run {run.name} began, images changed ({'; '.join(told)}): it goes on with what is there now, and "
        "ends otherwise than an uninterrupted run"
    )


def _record(material: Material) -> dict[str, dict[str, str | bool]]:
    parts = ((material.train, False), (material.holdout, True))
    return {str(one.path): _entry(one, held) for part, held in parts for one in part}


def _entry(example: Example, held_out: bool) -> dict[str, str | bool]:
    mask = _hash(example.mask) if example.mask else ""
    text = f"{example.caption}\n{example.lines}\n{example.repeats}\n{example.weight}"
    short = hashlib.sha256(text.encode()).hexdigest()[:16]
    return {"image": _hash(example.path) + mask, "text": short, "held_out": held_out}


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _listed(paths: list[str]) -> str:
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return ", ".join(Path(path).name for path in paths[:SHOWN]) + more
