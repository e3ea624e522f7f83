"""A run's adapter: that of the step which the user chose, else of the best or the last one."""

import math
import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from ..adapters import Adapter, save_adapter
from ..adapters.formats.header import read_header
from ..errors import Error
from ..files import write_atomically
from .checkpoint_adapters import adapter_of
from .checkpoints import Checkpoint
from .finding import find_run
from .judging import Best
from .progress import Reporter
from .report import write_report
from .run_folder import RunFolder

STARTED = "ss_training_started_at"


@dataclass(frozen=True)
class Kept:
    """What became a run's adapter: the checkpoint of `step`, in place of that of `instead_of`, where there was one."""

    run: str
    step: int
    adapter_path: Path
    instead_of: int | None

    @property
    def sentence(self) -> str:
        """For a person."""
        before = {None: "", self.step: ", as it was before"}.get(
            self.instead_of, f", in place of that of step {self.instead_of}"
        )
        return f"{self.adapter_path} is now the adapter of step {self.step} of {self.run}{before}"


def keep(which: str, step: int | Literal["best", "last"], workspace: Path) -> Kept:
    """Make a checkpoint of a run (its folder, or its name under `runs/`) the run's adapter, in the run and in the
    workspace's `adapters/`.

    A step stays the user's choice when the run goes on; `best` and `last` leave later ones free again. Raises `Error`
    for a run that is being trained, and for a step that has no checkpoint, naming those that have one.
    """
    run = find_run(which, workspace)
    run.refuse_if_running()
    number = step if isinstance(step, int) else _step_called(step, run)
    checkpoint = kept_checkpoint(run, number)
    target = _target(run)
    adapter = replace(adapter_of(checkpoint, run), name=run.name)
    write(run, adapter, run.config().save_dtype)
    publish(run, target.parent)
    run.keep(number if isinstance(step, int) else None)
    before = run.status().get("adapter_step")
    run.note_adapter(target, number)
    with suppress(OSError):  # the page says of which step the adapter is
        write_report(run)
    return Kept(run.name, number, target, before)


def kept_by_user(run: RunFolder, reporter: Reporter) -> Best | None:
    """The step that the user chose while the run was stopped or done; None where he left it open."""
    if run.kept is None:
        return None
    try:
        checkpoint = kept_checkpoint(run, run.kept)
    except Error as problem:
        reporter.warn(f"the step that you kept is gone, so that the adapter is chosen anew: {problem}")
        return None
    reporter.say(
        f"the adapter stays that of step {run.kept}, which you kept; sdlora keep {run.name} best (or last) changes it"
    )
    return Best(checkpoint.step, math.nan, math.nan, dict(checkpoint.weights))


def kept_checkpoint(run: RunFolder, step: int) -> Checkpoint:
    """The checkpoint of a step. Raises `Error` naming those that there are."""
    file = Checkpoint.file(run.checkpoints, step)
    if not file.is_file():
        known = ", ".join(map(str, Checkpoint.steps(run.checkpoints))) or "none"
        raise Error(f"The run {run.name} has no checkpoint of step {step}: it has {known}")
    return Checkpoint.load(file)


def write(run: RunFolder, adapter: Adapter, dtype: str) -> None:
    """Write the run's adapter, and each learned token also as an embedding of its own, for programs that read these."""
    save_adapter(adapter, run.adapter_file, dtype=dtype)
    for token in adapter.tokens:
        second = {token: adapter.tokens_2[token]} if token in adapter.tokens_2 else {}
        own = Adapter(token, {}, {token: adapter.tokens[token]}, adapter.metadata, adapter.family, tokens_2=second)
        name = "".join(letter if letter.isalnum() or letter in " -_" else "_" for letter in token).strip() or "token"
        save_adapter(own, run.embeddings / f"{name}.safetensors", dtype=dtype)


def publish(run: RunFolder, adapters: Path) -> Path:
    """Put a copy of the run's adapter into the workspace's folder of adapters, and of its embeddings beside that."""
    target = adapters / run.adapter_file.name
    write_atomically(target, lambda path: shutil.copyfile(run.adapter_file, path))
    for file in run.embeddings.glob("*.safetensors"):
        copy = adapters.parent / "embeddings" / run.name / file.name
        write_atomically(copy, partial(shutil.copyfile, file))
    return target


def _step_called(name: str, run: RunFolder) -> int:
    newest = Checkpoint.newest(run.checkpoints)
    if newest is None:
        raise Error(f"The run {run.name} has no checkpoint yet")
    if name == "last":
        return newest.step
    best = newest.states.get("best")
    if best is None:
        raise Error(f"The run {run.name} measured no held-out images, so it knows no best step: name a step")
    if best["step"] == 0:
        raise Error(f"No step of the run {run.name} was better than the base: name the step that you want")
    return int(best["step"])


def _target(run: RunFolder) -> Path:
    """The workspace's file of the run. Raises `Error` where another training's lies there."""
    folder = run.workspace / "adapters"
    target = folder / run.adapter_file.name
    if target.is_file() and read_header(target).metadata.get(STARTED) != str(run.started):
        raise Error(f"{target} is not of the run {run.name}: move or rename that file, then keep the step")
    return target
