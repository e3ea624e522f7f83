"""One real step before a training is begun, in a process of its own: how long it takes, and how much memory."""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from sdlora.errors import Error
from sdlora.files import size_text, write_text
from sdlora.training.config import TrainConfig

from ..text import duration

PATIENCE = 900  # seconds: loading a large base takes some


def measured(config: TrainConfig) -> str:
    """A sentence on the steps, the time and the memory that it will take. Raises `Error` as the training would."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "config.toml"
        write_text(file, config.asked_toml())
        command = [sys.executable, "-m", "sdlora.training.estimating", str(file)]
        environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
        try:
            done = subprocess.run(command, capture_output=True, env=environment, timeout=PATIENCE, check=False)
        except subprocess.TimeoutExpired:
            raise Error(f"The step took longer than {duration(PATIENCE)}: it was given up.") from None
    try:
        found = json.loads(done.stdout.decode("utf-8").strip().splitlines()[-1])
    except (ValueError, IndexError):
        last = done.stderr.decode("utf-8", errors="replace").strip().splitlines()[-1:]
        raise Error(f"The step could not be measured: {' '.join(last) or 'its process ended'}") from None
    if "problem" in found:
        raise Error(found["problem"])
    space = size_text(found["room"])
    if found["memory"] is None:
        return f"Measured: a step does not fit into the {space} that there are; the run will try what takes less."
    tight = "" if found["memory"] <= found["room"] else "; the run will take what needs less"
    time = duration(found["step_seconds"] * found["steps"])
    return (
        f"Measured: {found['steps']} steps of {found['step_seconds']:.2g} s are {time}, and pictures and measurements "
        f"on top; {size_text(found['memory'])} of memory, of {space} that there are{tight}."
    )
