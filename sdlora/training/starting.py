"""What a command asked for: a new run, an old one taken up, made longer, or made again."""

from pathlib import Path
from typing import Any

from ..errors import Error
from .again import settings_again
from .config import TrainConfig, read_toml
from .finding import find_run, run_to_resume
from .longer import lengthen

Wanted = tuple[TrainConfig, bool | str, str]  # the settings, what to resume, and a sentence or ""


def new(config: Path | None, given: dict[str, Any]) -> Wanted:
    """A new run. Raises `Error` for settings that can't be."""
    _refuse_more(given, None)
    return TrainConfig(**({**read_toml(config), **given} if config else given)), False, ""


def resumed(which: bool | str, config: Path | None, given: dict[str, Any]) -> Wanted:
    """A run taken up where it is: the named one, or with True the newest unfinished of the given name."""
    _refuse_more(given, None)
    given = {**read_toml(config), **given} if config else given
    old = run_to_resume(which, given.get("name", ""), _workspace(given))
    settings = old.config().model_dump(exclude_none=True) if old else {}
    return TrainConfig(**{**settings, **given}), which, ""


def continued(which: str, given: dict[str, Any]) -> Wanted:
    """A run that has ended, made longer by the given `steps`."""
    if "steps" not in given:
        raise Error("--continue needs to know how much longer: give --steps +500 for 500 more, or how many in all")
    run = find_run(which, _workspace(given))
    others = {key: value for key, value in given.items() if key != "steps"}
    run.config_to_resume(TrainConfig(**{**run.config().model_dump(exclude_none=True), **others}))
    said = lengthen(run, given["steps"])
    return TrainConfig(**{**run.config().model_dump(exclude_none=True), **others}), str(run.path), said


def made_again(which: str, given: dict[str, Any]) -> Wanted:
    """A new run from what another one was asked for, with changes."""
    _refuse_more(given, which)
    return TrainConfig(**settings_again(which, _workspace(given), given)), False, ""


def _workspace(given: dict[str, Any]) -> Path:
    return Path(given.get("workspace", "workspace"))


def _refuse_more(given: dict[str, Any], which: str | None) -> None:
    steps = str(given.get("steps", "")).strip()
    if steps.startswith("+"):
        raise Error(f"steps = {steps} is for a run that goes on: --continue {which or 'RUN'} --steps {steps}")
