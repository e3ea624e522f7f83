"""A run that has ended, trained longer: the same run, with more steps than it was begun with."""

import os

from ..errors import Error
from ..files import write_text
from .checkpoints import Checkpoint
from .run_folder import RunFolder


def lengthen(run: RunFolder, steps: int | str) -> str:
    """Give a run that nobody trains right now more steps, so that it can be resumed: `+500` from where it is, or so
    many in all. Says what it did.

    The learning rate goes on along the curve of a run that had been as long from its beginning, and patience is counted
    anew. Its adapter stays where it is until the longer run is done. Raises `Error` for a number that is none or not
    beyond what is done, and where there is no checkpoint.
    """
    run.refuse_if_running()
    newest = Checkpoint.newest(run.checkpoints)
    if newest is None:
        raise Error(f"The run {run.name} has no checkpoint to go on from: start a new one with --again {run.name}")
    total, before = _total(steps, newest.step), run.config().steps
    if best := newest.states.get("best"):
        best["since"] = 0
        newest.save(run.checkpoints)
    # in this order: killed in between, it is a run that is resumed and has nothing left to do
    run.write_status("stopped", newest.step, total)
    _rewrite(run, total)
    planned = f" (it was to have {before})" if before not in (newest.step, total) else ""
    return f"{run.name} goes on from step {newest.step} to step {total}{planned}"


def _total(steps: int | str, done: int) -> int:
    text = str(steps).strip()
    try:
        total = int(text) + (done if text.startswith("+") else 0)
    except ValueError:
        raise Error(f"steps = {text!r} is no number: give +500 for 500 more, or how many in all") from None
    if total <= done:
        raise Error(f"steps = {text} is not beyond step {done}, where the run is: give +500 for 500 more")
    return total


def _rewrite(run: RunFolder, steps: int) -> None:
    """The config with another number of steps, as old as it was: its age says when the run began."""
    started = run.started
    config = run.config().model_copy(update={"steps": steps, "epochs": None})
    asked = {key: value for key, value in run.asked().items() if key != "epochs"} | {"steps": steps}
    run.note_asked(asked)
    write_text(run.config_file, config.toml())
    os.utime(run.config_file, (started, started))
