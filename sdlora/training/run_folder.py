"""The run folder: the interface between a training and whoever watches it. Either may crash without the other."""

import itertools
import json
import math
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit

from ..adapters.library import SUFFIX, parse_weight
from ..errors import Error
from ..files import write_text
from .config import ResolvedConfig, TrainConfig, read_toml
from .json_files import read_json
from .run_status import WORKING, RunStatus

PLACES = ("images", "holdout", "class_images", "base", "sample_prompts", "merged")  # settings that may be paths
# settings that may change when a run is resumed: no bit of what is learned depends on them
FREE = ("device", "save_dtype", "sample_prompts", "sample_weights", "sample_every", "trackers")


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
        self.asked_file = path / "asked.toml"
        self.kept_file = path / "kept.json"
        self.metrics_file = path / "metrics.jsonl"
        self.status_file = path / "status.json"
        self.control_file = path / "control.json"
        self.curve_file = path / "loss.png"
        self.messages_file = path / "messages.jsonl"
        self.report_file = path / "report.html"
        self.choices_file = path / "choices.json"
        self.dataset_file = path / "dataset.json"
        self.samples = path / "samples"
        self.checkpoints = path / "checkpoints"
        self.embeddings = path / "embeddings"
        self._status = RunStatus(path)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def started(self) -> float:
        """When the run was begun, in seconds since 1970."""
        return self.config_file.stat().st_mtime

    @property
    def workspace(self) -> Path:
        """What it lies in, wherever that was moved."""
        return self.path.resolve().parent.parent

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

    def unless_finished(self) -> "RunFolder":
        """Itself. Raises `Error` where there is nothing left to train."""
        if self.state == "finished":
            raise Error(
                f"The run {self.name} is finished: start a new one without --resume, or train it longer with "
                f"--continue {self.name} --steps +500"
            )
        return self

    def config(self) -> ResolvedConfig:
        """The settings the run was started with."""
        return ResolvedConfig(**read_toml(self.config_file))

    def change_config(self, config: ResolvedConfig) -> None:
        """Settings that a running training had to change; the run is as old as it was."""
        times = self.config_file.stat()
        write_text(self.config_file, config.toml())
        os.utime(self.config_file, ns=(times.st_atime_ns, times.st_mtime_ns))

    def config_to_resume(self, asked: TrainConfig) -> ResolvedConfig:
        """The run's settings, with the device and file type that are asked for now, in the workspace it lies in now.

        Raises `Error` for an explicit setting that differs from the run's, naming the first of them.
        """
        own, was_asked = self.config(), self.asked()
        for key in type(asked).model_fields:
            if key not in asked.model_fields_set or key in ("name", "workspace", *FREE):
                continue
            wanted, has = located(key, getattr(asked, key)), getattr(own, key)
            if wanted not in ("auto", None, has, was_asked.get(key)):
                raise Error(
                    f"The run {self.name} was started with {key} = {has!r}, not {wanted!r}: "
                    f"go on without that setting, or start a new run with --again {self.name}"
                )
        inside = self.path.parent.name == "runs"
        given = {key: getattr(asked, key) for key in FREE if key in asked.model_fields_set}
        changes = {key: located(key, value) for key, value in given.items() if value != "auto"}
        changes["workspace"] = str(self.path.parent.parent) if inside else asked.workspace
        return own.model_copy(update=changes)

    def forget_requests(self) -> None:
        """What was asked of the process that is gone does not hold for the one that goes on."""
        self.control_file.unlink(missing_ok=True)

    def refuse_if_running(self) -> None:
        """Two processes must not write into one run. Raises `Error` while one works on it."""
        if self.state in WORKING:
            raise Error(
                f"The run {self.name} is being trained right now (process {self.status()['pid']}): stop it first"
            )

    def status(self) -> dict[str, Any]:
        """The last written status, which a process that was killed could not correct; empty where there is none."""
        return self._status.read()

    @property
    def state(self) -> str:
        """What is true of the run now. `preparing`, `running`, `paused`: a process works on it. `stuck`: the process is
        there, but has given no sign of life for minutes. `dead`: the process is gone. `stopped`, `finished`, `failed`:
        it ended so. `new`: it has not begun."""
        return self._status.state

    @property
    def last_step(self) -> int:
        """The step that was last said to be reached."""
        return self._status.last_step

    def at_work(self, step: int, steps: int) -> AbstractContextManager[None]:
        """Within it, this process works on the run and gives a sign of life every few seconds, whatever it does."""
        return self._status.at_work(step, steps)

    def write_status(self, state: str, step: int, steps: int, *, force: bool = True, **more: Any) -> None:
        """State, step and heartbeat; with `force=False` at most every two seconds.

        Raises `Error` where the folder is gone, or another process has taken the run for dead and goes on with it.
        """
        self._status.write(state, step, steps, force=force, **more)

    def write_failure(self, message: str) -> None:
        """Why it ended before its time, where no status says so yet."""
        self._status.write_failure(message)

    def note_adapter(self, file: Path, step: int) -> None:
        """Which file is the run's adapter, and of which step; all else of the status stays as it is."""
        self._status.note_adapter(file, step)

    @property
    def kept(self) -> int | None:
        """The step that the user made the adapter, which no better one may replace; None where none was chosen."""
        step = read_json(self.kept_file).get("step")
        return step if isinstance(step, int) else None

    def keep(self, step: int | None) -> None:
        """Note the user's choice; None takes it back."""
        if step is None:
            self.kept_file.unlink(missing_ok=True)
        else:
            write_text(self.kept_file, json.dumps({"step": step}) + "\n")

    def note_asked(self, settings: dict[str, Any]) -> None:
        """Keep the settings as they were asked for."""
        write_text(self.asked_file, tomlkit.dumps(settings))

    def asked(self) -> dict[str, Any]:
        """The settings as they were asked for, with nothing chosen yet; those of the run where that was not noted."""
        if self.asked_file.is_file():
            return read_toml(self.asked_file)
        return {key: value for key, value in read_toml(self.config_file).items() if key not in ("epochs", "workspace")}

    def control(self) -> Control:
        """What watchers ask for; a missing or half-written file asks for nothing."""
        asked = read_json(self.control_file)
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
        self._status.refuse_if_gone()
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


def located(key: str, value: Any) -> Any:
    """A path that exists as an absolute one, so that a run can be resumed from anywhere; all else as it is."""
    if key == "merged":
        return [_located_adapter(text) for text in value]
    if key not in PLACES or not isinstance(value, str) or value in ("", "mini"):
        return value
    path = Path(value).expanduser()
    return str(path.resolve()) if path.exists() else value


def _located_adapter(text: str) -> str:
    """NAME_OR_FILE:WEIGHT with a file's path made absolute; a bare name stays the library's."""
    name, _ = parse_weight(text)
    bare = name == Path(name).name and not name.endswith(SUFFIX)
    return text if bare or not Path(name).exists() else f"{Path(name).resolve()}{text[len(name) :]}"
