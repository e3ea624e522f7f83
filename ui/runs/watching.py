"""What is to be told of a run: where it stands, its losses, its pictures, what its process says."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from sdlora.training.checkpoints import Checkpoint
from sdlora.training.curve import smoothed
from sdlora.training.run_folder import RunFolder
from sdlora.training.sample_index import SampleIndex

from .queue import RunQueue
from .ticket import Ticket

Doing = Literal[
    "waiting", "preparing", "training", "pausing", "stopping", "paused", "stopped", "finished", "failed", "died"
]
OF_STATE: dict[str, Doing] = {  # of runs that the command line began
    "preparing": "preparing",
    "running": "training",
    "paused": "paused",
    "stopped": "stopped",
    "finished": "finished",
    "failed": "failed",
}
LAST = 20  # steps whose mean time foretells the rest
MOST_POINTS = 300  # of a curve
LOG_BYTES, LOG_LINES = 2**16, 200
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Standing:
    """Where a run stands. `place` is how many come before one that waits, `reported` whether
    there is a `report.html`; None is what is not known."""

    run: str
    doing: Doing
    step: int = 0
    steps: int = 0
    seconds_left: float | None = None
    memory: int | None = None  # bytes
    message: str = ""
    place: int | None = None
    reported: bool = False

    @property
    def over(self) -> bool:
        """Whether nothing more will happen unless somebody asks for it."""
        return self.doing in ("stopped", "finished", "failed", "died")


@dataclass(frozen=True)
class Point:
    """Of a curve."""

    step: int
    loss: float
    series: str


@dataclass(frozen=True)
class Column:
    """What is known of one step of a run: its pictures (prompt's number, weight) -> file, whether it can be `kept`,
    and its held-out loss."""

    step: int
    pictures: dict[tuple[int, float], Path]
    keepable: bool
    holdout_loss: float | None
    best: bool
    kept: bool


def standing(queue: RunQueue, run: str) -> Standing:
    """Where a run of the queue or of the workspace stands."""
    folder, tickets = queue.run_folder(run), queue.tickets()
    ticket = next((one for one in tickets if one.run == run), None)
    status = folder.status()
    doing = _doing(ticket, folder)
    step, steps = int(status.get("step") or 0), int(status.get("steps") or 0)
    message = (ticket and ticket.message) or str(status.get("message") or "")
    if doing in ("failed", "died"):
        message = message or _last_words(queue.log_file(run))
    waiting = [one.run for one in tickets if one.state in ("running", "waiting")]
    return Standing(
        run,
        doing,
        step,
        steps,
        _seconds_left(folder, steps - step) if doing == "training" else None,
        status.get("memory"),
        message if doing in ("failed", "died") else "",
        waiting.index(run) if doing == "waiting" and run in waiting else None,
        folder.report_file.is_file(),
    )


def _doing(ticket: Ticket | None, folder: RunFolder) -> Doing:
    state = folder.state
    if ticket is None:
        return OF_STATE.get(state, "died")
    if ticket.state == "failed":
        return "died" if state == "dead" else "failed"
    if ticket.state != "running":
        return ticket.state
    if ticket.wish:
        return "stopping" if ticket.wish == "stop" else "pausing"
    begun = folder.status().get("heartbeat", 0.0) >= ticket.started
    return "training" if begun and state == "running" else "preparing"


def curves(folder: RunFolder) -> list[Point]:
    """Loss of the steps, smoothed, and the held-out losses; thinned out to what a picture can show."""
    rows = metrics(folder)
    steps = [(row["step"], row["loss"]) for row in rows if row.get("loss") is not None]
    if not steps:
        return _held_out(rows)
    every = max(1, len(steps) // MOST_POINTS)
    smooth = smoothed([loss for _, loss in steps])
    points = [Point(step, value, "loss, smoothed") for (step, _), value in zip(steps, smooth, strict=True)]
    return [*points[::-every][::-1], *_held_out(rows)]


def _held_out(rows: Sequence[dict[str, Any]]) -> list[Point]:
    names = {"holdout_loss": "held-out loss", "train_loss": "the same on training images"}
    return [
        Point(row["step"], row[key], name) for key, name in names.items() for row in rows if row.get(key) is not None
    ]


def columns(folder: RunFolder) -> list[Column]:
    """The run's steps that have pictures, the base first."""
    rows = [row for row in metrics(folder) if row.get("holdout_loss") is not None]
    losses = {row["step"]: row["holdout_loss"] for row in rows}
    best = min((step for step in losses if step), key=losses.__getitem__, default=None)
    kept = folder.kept or folder.status().get("adapter_step")
    there = set(Checkpoint.steps(folder.checkpoints))
    pictures: dict[int, dict[tuple[int, float], Path]] = {}
    for sample in SampleIndex(folder.samples).pictures:
        pictures.setdefault(sample.step, {})[sample.prompt, sample.weight] = folder.samples / sample.file
    extra = {step for step in (best, kept) if step} & there
    return [
        Column(step, pictures.get(step, {}), step in there, losses.get(step), step == best, step == kept)
        for step in sorted(pictures.keys() | extra)
    ]


def prompts(folder: RunFolder) -> dict[int, str]:
    """The numbers of the run's preview prompts, and the prompts."""
    index = SampleIndex(folder.samples)
    return {number: str(entry["prompt"]) for number, entry in sorted(index.prompts.items())}


def log_text(file: Path) -> str:
    """The last lines of what a process said, without what steers a terminal."""
    try:
        with file.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - LOG_BYTES))
            text = stream.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    lines = [line.rpartition("\r")[2] for line in _ESCAPES.sub("", text).replace("\r\n", "\n").split("\n")]
    return "\n".join(lines[-LOG_LINES:]).strip()


def metrics(folder: RunFolder) -> Sequence[dict[str, Any]]:
    """The run's measurements, read anew only when there are more."""
    try:
        facts = folder.metrics_file.stat()
    except OSError:
        return ()
    return _metrics(folder.path, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=16)
def _metrics(path: Path, _modified: int, _size: int) -> tuple[dict[str, Any], ...]:
    return tuple(row for row in RunFolder(path).metrics() if isinstance(row, dict) and "step" in row)


def _seconds_left(folder: RunFolder, steps: int) -> float | None:
    each = step_seconds(folder)
    return None if each is None else each * steps


def step_seconds(folder: RunFolder) -> float | None:
    """Seconds that the last steps took each, None where there were too few to tell."""
    took = [row["seconds"] for row in metrics(folder) if row.get("seconds") is not None][-LAST:]
    if len(took) < 2:  # the first one warms up the device
        return None
    return float(sum(sorted(took)[: max(1, len(took) - 1)]) / max(1, len(took) - 1))


def _last_words(log: Path) -> str:
    """The sentence that a command ends with when it refuses, else the last line."""
    lines = [line.strip() for line in log_text(log).splitlines() if line.strip()]
    said = next((line for line in reversed(lines) if line.startswith("sdlora: ")), lines[-1] if lines else "")
    return said.removeprefix("sdlora: ")
