"""The run folder: the interface between a training and whoever watches it. Either may crash without the other."""

import json
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
from .config import ResolvedConfig, TrainConfig

HEARTBEAT_SECONDS = 2.0
STALE_SECONDS = 120.0


@dataclass(frozen=True)
class Control:
    """What watchers ask for in `control.json`; `sample` is a counter, a picture is due when it changes."""

    stop: bool = False
    pause: bool = False
    sample: int = 0


class RunFolder:
    """One training: `config.toml`, `metrics.jsonl`, `status.json`, `control.json`, `samples/`, `checkpoints/`, the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.toml"
        self.metrics_file = path / "metrics.jsonl"
        self.status_file = path / "status.json"
        self.control_file = path / "control.json"
        self.samples = path / "samples"
        self.checkpoints = path / "checkpoints"
        self._beat = 0.0

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def adapter_file(self) -> Path:
        """The adapter inside the run; the workspace's `adapters/` gets a copy when the run is finished."""
        return self.path / f"{self.name}.safetensors"

    @staticmethod
    def create(config: ResolvedConfig) -> "RunFolder":
        """A new folder under `runs/`; a taken name becomes NAME-2, NAME-3, …"""
        workspace = Path(config.workspace)
        for name in _free_names(config.name, workspace):
            try:
                (workspace / "runs" / name).mkdir(parents=True)
            except FileExistsError:
                continue
            run = RunFolder(workspace / "runs" / name)
            run.samples.mkdir()
            run.checkpoints.mkdir()
            write_text(run.config_file, config.toml())
            return run
        raise AssertionError("names never run out")

    @staticmethod
    def to_resume(which: str | bool, name: str, workspace: Path) -> "RunFolder | None":
        """The run that `--resume [RUN]` means: a folder, a name under `runs/`, or the newest unfinished run of `name`.

        None when a bare resume finds no run of that name at all: then there is nothing to lose by starting one.
        """
        runs = workspace / "runs"
        if isinstance(which, str):
            found = next((p for p in (Path(which), runs / which) if (p / "config.toml").is_file()), None)
            if found is None:
                raise Error(f"There is no run {which!r}: give a run's folder or a name under {runs}")
            return RunFolder(found)
        own = [RunFolder(p) for p in runs.glob("*") if re.fullmatch(rf"{re.escape(name)}(-\d+)?", p.name)]
        own = [run for run in own if run.config_file.is_file() and run.config().name == name]
        unfinished = [run for run in own if run.status().get("state") != "finished"]
        if own and not unfinished:
            raise Error(f"The run {max(own, key=_age).name} is finished: start a new one without --resume")
        return max(unfinished, key=_age, default=None)

    def config(self) -> ResolvedConfig:
        """The settings the run was started with."""
        return ResolvedConfig.load(self.config_file)

    def refuse_if_running(self) -> None:
        """Two processes must not write into one run. A killed one is told by its process and its heartbeat."""
        status = self.status()
        fresh = time.time() - status.get("heartbeat", 0.0) < STALE_SECONDS
        if status.get("state") in ("running", "paused") and fresh and _is_alive(status.get("pid", 0)):
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
        return Control(bool(asked.get("stop")), bool(asked.get("pause")), int(asked.get("sample") or 0))

    def append_metrics(self, row: dict[str, Any]) -> None:
        """One line of `metrics.jsonl`."""
        with self.metrics_file.open("a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps(row) + "\n")

    def metrics(self) -> Iterator[dict[str, Any]]:
        """All complete lines; a line that a killed process left half-written is passed over."""
        if self.metrics_file.is_file():
            for line in self.metrics_file.read_text(encoding="utf-8").splitlines():
                try:
                    yield json.loads(line)
                except ValueError:
                    continue

    def drop_metrics_beyond(self, step: int) -> None:
        """Forget the rows of steps that will be done again."""
        kept = [json.dumps(row) for row in self.metrics() if row["step"] <= step]
        write_text(self.metrics_file, "".join(f"{row}\n" for row in kept))


def _free_names(name: str, workspace: Path) -> Iterator[str]:
    number = 1
    while True:
        candidate = name if number == 1 else f"{name}-{number}"
        if not (workspace / "adapters" / f"{candidate}.safetensors").exists():
            yield candidate
        number += 1


def _age(run: RunFolder) -> float:
    return run.config_file.stat().st_mtime


def _is_alive(pid: int) -> bool:
    try:
        return pid != os.getpid() and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def requested(config: TrainConfig, run: RunFolder) -> None:
    """Refuse a resume whose explicit settings differ from the run's. Raises `Error` naming the first of them."""
    own = run.config()
    may_differ = {"name", "workspace", "preset", "device"}
    for key in config.model_fields_set - may_differ:
        asked, has = located(getattr(config, key)), getattr(own, key)
        if asked != "auto" and asked is not None and asked != has:
            raise Error(
                f"The run {run.name} was started with {key} = {has!r}, not {asked!r}: "
                "resume it without that setting, or start a new run without --resume"
            )


def located(value: Any) -> Any:
    """A path that exists as an absolute one, so that a run can be resumed from anywhere; all else as it is."""
    if not isinstance(value, str) or value in ("", "mini") or not Path(value).exists():
        return value
    return str(Path(value).resolve())
