"""The run folder: the interface between a training and whoever watches it. Either may crash without the other."""

import itertools
import json
import math
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from ..errors import Error
from ..files import write_text
from .config import ResolvedConfig, TrainConfig, read_toml

HEARTBEAT_SECONDS = 2.0
PLACES = ("images", "holdout", "base")  # settings that may be paths
FREE = ("device", "save_dtype")  # settings that may change when a run is resumed


@dataclass(frozen=True)
class Control:
    """What watchers ask for in `control.json`; `sample` is a counter, a picture is due when it changes."""

    stop: bool = False
    pause: bool = False
    sample: int = 0


class RunFolder:
    """One training: config, metrics, status, control, `samples/`, `checkpoints/`, and what was learned."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.toml"
        self.metrics_file = path / "metrics.jsonl"
        self.status_file = path / "status.json"
        self.control_file = path / "control.json"
        self.curve_file = path / "loss.png"
        self.samples = path / "samples"
        self.checkpoints = path / "checkpoints"
        self._beat = 0.0

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def started(self) -> float:
        """When the run was begun, in seconds since 1970."""
        return self.config_file.stat().st_mtime

    @property
    def adapter_file(self) -> Path:
        """The adapter inside the run; the workspace's `adapters/` gets a copy when the run is finished."""
        return self.path / f"{self.name}.safetensors"

    @staticmethod
    def create(config: ResolvedConfig) -> "RunFolder":
        """A new folder under `runs/`; a taken name becomes NAME-2, NAME-3, … Raises `Error` where none can be made."""
        runs = Path(config.workspace) / "runs"
        try:
            runs.mkdir(parents=True, exist_ok=True)
            run = RunFolder(_taken(runs, config.name))
            run.samples.mkdir()
            run.checkpoints.mkdir()
            write_text(run.config_file, config.toml())
        except OSError as problem:
            raise Error(f"No run folder can be made in {runs} ({problem.strerror}): give another workspace") from None
        return run

    @staticmethod
    def to_resume(which: str | bool, name: str, workspace: Path) -> "RunFolder | None":
        """The run that `--resume [RUN]` means: a folder, a name under `runs/`, or the newest unfinished run of `name`.

        None when a bare resume finds no run of that name at all: then there is nothing to lose by starting one.
        Raises `Error` when there is no such run, or it is finished.
        """
        runs = workspace / "runs"
        if isinstance(which, str):
            found = next((p for p in (Path(which), runs / which) if (p / "config.toml").is_file()), None)
            if found is None:
                raise Error(f"There is no run {which!r}: give a run's folder or a name under {runs}")
            return RunFolder(found.resolve()).unless_finished()
        own = [RunFolder(p) for p in runs.glob("*") if re.fullmatch(rf"{re.escape(name)}(-\d+)?", p.name)]
        own = [run for run in own if run.config_file.is_file() and run.config().name == name]
        unfinished = [run for run in own if run.status().get("state") != "finished"]
        newest = max(unfinished or own, key=lambda run: run.started, default=None)
        return newest and newest.unless_finished()

    def unless_finished(self) -> "RunFolder":
        """Itself. Raises `Error` where there is nothing left to train."""
        if self.status().get("state") == "finished":
            raise Error(f"The run {self.name} is finished: start a new one without --resume")
        return self

    def config(self) -> ResolvedConfig:
        """The settings the run was started with."""
        return ResolvedConfig(**read_toml(self.config_file))

    def config_to_resume(self, asked: TrainConfig) -> ResolvedConfig:
        """The run's settings, with the device and file type that are asked for now, in the workspace it lies in now.

        Raises `Error` for an explicit setting that differs from the run's, naming the first of them.
        """
        own = self.config()
        for key in type(asked).model_fields:
            if key not in asked.model_fields_set or key in ("name", "workspace", *FREE):
                continue
            wanted, has = located(key, getattr(asked, key)), getattr(own, key)
            if wanted not in ("auto", None, has):
                raise Error(
                    f"The run {self.name} was started with {key} = {has!r}, not {wanted!r}: "
                    "resume it without that setting, or start a new run without --resume"
                )
        inside = self.path.parent.name == "runs"
        changes = {key: getattr(asked, key) for key in FREE if key in asked.model_fields_set}
        changes["workspace"] = str(self.path.parent.parent) if inside else asked.workspace
        return own.model_copy(update=changes)

    def forget_requests(self) -> None:
        """What was asked of the process that is gone does not hold for the one that goes on."""
        self.control_file.unlink(missing_ok=True)

    def refuse_if_running(self) -> None:
        """Two processes must not write into one run. Raises `Error` while the one that last wrote its status lives."""
        status = self.status()
        if status.get("state") in ("running", "paused") and _is_alive(status["pid"], status["heartbeat"]):
            raise Error(f"The run {self.name} is being trained right now (process {status['pid']}): stop it first")

    def status(self) -> dict[str, Any]:
        """The last written status; empty where there is none."""
        return _read_json(self.status_file)

    def write_status(self, state: str, step: int, steps: int, *, force: bool = True, **more: Any) -> None:
        """State, step and heartbeat; with `force=False` at most every two seconds."""
        now = time.time()
        if force or now - self._beat >= HEARTBEAT_SECONDS:
            self._beat = now
            facts = {"state": state, "step": step, "steps": steps, "heartbeat": now, "pid": os.getpid(), **more}
            write_text(self.status_file, json.dumps(facts, indent=2) + "\n")

    def control(self) -> Control:
        """What watchers ask for; a missing or half-written file asks for nothing."""
        asked = _read_json(self.control_file)
        sample = asked.get("sample")
        return Control(asked.get("stop") is True, asked.get("pause") is True, sample if isinstance(sample, int) else 0)

    def held_out_losses(self) -> tuple[float | None, float | None]:
        """The first that was measured, and the last up to the step that the adapter is of; None for what was not."""
        last = self.status().get("adapter_step", math.inf)
        measured = [row["holdout_loss"] for row in self.metrics() if "holdout_loss" in row and row["step"] <= last]
        return (measured[0] if measured else None, measured[-1] if len(measured) > 1 else None)

    def tidy(self, step: int) -> None:
        """Before the steps beyond `step` are done again: forget their metrics, and checkpoints left half-written."""
        for leftover in self.checkpoints.glob(".*.tmp"):
            leftover.unlink(missing_ok=True)
        kept = [json.dumps(row) for row in self.metrics() if row["step"] <= step]
        write_text(self.metrics_file, "".join(f"{row}\n" for row in kept))

    def append_metrics(self, row: dict[str, Any]) -> None:
        """One line of `metrics.jsonl`; a number that is not finite becomes null, which JSON has no word for."""
        plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        with self.metrics_file.open("a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps(plain) + "\n")

    def metrics(self) -> Iterator[dict[str, Any]]:
        """All complete lines; a line that a killed process left half-written is passed over."""
        if self.metrics_file.is_file():
            for line in self.metrics_file.read_text(encoding="utf-8").splitlines():
                try:
                    yield json.loads(line)
                except ValueError:
                    continue


def _taken(runs: Path, name: str) -> Path:
    """A folder made for the first of NAME, NAME-2, … that is neither a run nor a finished adapter."""
    for number in itertools.count(1):
        path = runs / (name if number == 1 else f"{name}-{number}")
        if (runs.parent / "adapters" / f"{path.name}.safetensors").exists():
            continue
        try:
            path.mkdir()  # of several processes that try, only one succeeds
        except FileExistsError:
            continue
        return path
    raise AssertionError("numbers never run out")


def _is_alive(pid: int, heartbeat: float) -> bool:
    """Whether the process that wrote this heartbeat still runs; a later process may have been given its number."""
    try:
        process = psutil.Process(pid)
        same = process.create_time() <= heartbeat
        return same and pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def located(key: str, value: Any) -> Any:
    """A path that exists as an absolute one, so that a run can be resumed from anywhere; all else as it is."""
    if key not in PLACES or not isinstance(value, str) or value in ("", "mini") or not Path(value).exists():
        return value
    return str(Path(value).resolve())
