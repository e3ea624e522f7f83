"""Which run is meant: by its folder, by its name, or as the newest that is unfinished."""

import re
from pathlib import Path

from ..errors import Error
from .run_folder import RunFolder


def find_run(which: str, workspace: Path) -> RunFolder:
    """A run by its folder or its name under `runs/`. Raises `Error` naming those that there are."""
    runs = workspace / "runs"
    found = next((path for path in (Path(which), runs / which) if (path / "config.toml").is_file()), None)
    if found is None:
        known = ", ".join(sorted(path.parent.name for path in runs.glob("*/config.toml"))) or "none"
        raise Error(f"There is no run {which!r}: give a run's folder or a name under {runs}, which has {known}")
    return RunFolder(found.resolve())


def run_to_resume(which: str | bool, name: str, workspace: Path) -> RunFolder | None:
    """The run that `--resume [RUN]` means: a folder, a name under `runs/`, or the newest unfinished run of `name`.

    None when a bare resume finds no run of that name at all: then there is nothing to lose by starting one.
    Raises `Error` when there is no such run, or it is finished.
    """
    if isinstance(which, str):
        return find_run(which, workspace).unless_finished()
    folders = (workspace / "runs").glob("*")
    own = [RunFolder(path) for path in folders if re.fullmatch(rf"{re.escape(name)}(-\d+)?", path.name)]
    own = [run for run in own if run.config_file.is_file() and run.config().name == name]
    unfinished = [run for run in own if run.state != "finished"]
    newest = max(unfinished or own, key=lambda run: run.started, default=None)
    return newest and newest.unless_finished()
