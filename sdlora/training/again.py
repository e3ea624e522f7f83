"""A new run from what another run was asked to do, with changes."""

from pathlib import Path
from typing import Any

from .config import TrainConfig
from .finding import find_run

EITHER = ("steps", "epochs")  # two ways to say how long


def settings_again(which: str, workspace: Path, changes: dict[str, Any]) -> dict[str, Any]:
    """The settings that a run (its folder, or its name under `runs/`) was asked for, and `changes` in their place.

    What was chosen for it is chosen anew, so that it suits the changes. The name stays: a taken one becomes NAME-2 when
    the run begins. Raises `Error` where there is no such run.
    """
    asked = find_run(which, workspace).asked()
    length = EITHER if any(key in changes for key in EITHER) else ()
    kept = {key: value for key, value in asked.items() if key not in length}
    return {**kept, "workspace": str(workspace), **changes}


def again(which: str, workspace: Path, **changes: Any) -> TrainConfig:
    """The same as a config. Raises `Error` for a change that can't be."""
    return TrainConfig(**settings_again(which, workspace, changes))
