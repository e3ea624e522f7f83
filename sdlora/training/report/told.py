"""What a run's folder tells in words and numbers: how it stands, what it took, what was said."""

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import printable
from ..config import ResolvedConfig
from ..run_folder import RunFolder

Rows = Sequence[dict[str, Any]]
STATES = {
    "finished": "finished",
    "stopped": "stopped before its end",
    "failed": "failed",
    "running": "running",
    "paused": "paused",
    "preparing": "preparing",
    "stuck": "no sign of life",
    "dead": "killed, can be resumed",
    "new": "not begun",
}


@dataclass(frozen=True)
class Tile:
    """A number with what it is, and a line below it."""

    title: str
    value: str
    below: str = ""


@dataclass(frozen=True)
class Measures:
    """The held-out losses of a run: the base's, the best and the last, with their steps. None where nothing is held
    out."""

    before: float
    best: float
    best_step: int
    last: float
    last_step: int
    drift: float | None


def measures(rows: Rows) -> Measures | None:
    """From the rows of `metrics.jsonl`."""
    held = [row for row in rows if row.get("holdout_loss") is not None]
    if not held:
        return None
    best = min(held, key=lambda row: row["holdout_loss"])
    last = held[-1]
    losses = (held[0]["holdout_loss"], best["holdout_loss"], best["step"], last["holdout_loss"], last["step"])
    return Measures(*losses, last.get("drift"))


def tiles(run: RunFolder, config: ResolvedConfig, rows: Rows, adapter_step: int | None) -> list[Tile]:
    """The numbers that count, for the head of the page."""
    status, found = run.status(), measures(rows)
    seconds = [row["seconds"] for row in rows if row.get("seconds") is not None]
    tiles = [Tile("steps", f"{status.get('step', 0):,}", f"of {config.steps:,}")]
    if found:
        change = f"{found.best / found.before - 1:+.1%} against the base, at step {found.best_step}"
        tiles.append(Tile("best held-out loss", f"{found.best:.4f}", change))
        if found.drift is not None:
            tiles.append(Tile("drift", f"{found.drift:.2%}", "what the trigger does not call up moved by so much"))
    if adapter_step is not None:
        why = "the best that was measured" if found and found.best_step == adapter_step else "as asked, or the last"
        tiles.append(Tile("the adapter", f"step {adapter_step:,}", why))
    if seconds:
        each = statistics.median(seconds)
        images = config.batch_size * config.gradient_accumulation / max(each, 1e-9)
        tiles.append(Tile("time of all steps", duration(sum(seconds)), f"{each:.3g} s a step, {images:.3g} images/s"))
    if memory := status.get("peak_memory"):
        where = "of the GPU, at the most" if config.device.startswith("cuda") else "of the computer, at the most"
        tiles.append(Tile("memory", f"{memory / 2**30:.2f} GiB", where))
    return tiles


def messages(run: RunFolder) -> list[dict[str, Any]]:
    """What was said during the run: time, level (note or warning), text."""
    found = []
    try:
        lines = run.messages_file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    for line in lines:
        try:
            entry = json.loads(line)
            at = time.strftime("%H:%M:%S", time.localtime(entry["time"]))
            found.append({"time": at, "level": entry["level"], "text": printable(entry["text"])})
        except (ValueError, KeyError, TypeError):  # a line that a killed process left half-written
            continue
    return found


def duration(seconds: float) -> str:
    """1 h 05 min, 3 min 20 s, 12 s."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{seconds:.3g} s"
