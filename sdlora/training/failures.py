"""What stopped a training, in a sentence that says what to try."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from ..errors import Error
from ..sampling.memory import ran_out
from .checkpoints import Checkpoint
from .run_folder import RunFolder


def not_finite(what: str, value: float, step: int, run: RunFolder) -> Error:
    """A number that became NaN or infinite."""
    return Error(
        f"The {what} became {value} at step {step} of {run.name}: start again with a lower learning_rate or "
        f"precision = fp32; {_kept(run)}"
    )


def half_done(step: int, run: RunFolder) -> Error:
    """Memory that ran out while the weights were written."""
    return Error(
        f"Memory ran out in the optimiser's own step {step} of {run.name}, so that its weights can't be used: close "
        f"other programs and go on with --resume {run.name}; {_kept(run)}"
    )


def in_words(problem: BaseException, step: int, run: RunFolder) -> Error | None:
    """What a user can mend as an `Error`; None for a mistake of ours and for what is an `Error` already."""
    if ran_out(problem):
        return Error(
            f"Memory ran out at step {step} of {run.name}, but not in training itself: close other programs and go on "
            f"with --resume {run.name}; {_kept(run)}"
        )
    if isinstance(problem, OSError) and (place := _outside(problem, run)):
        return Error(
            f"{place} can't be read any more ({problem.strerror}): is its folder still there? If so, go on with "
            f"--resume {run.name}; {_kept(run)}"
        )
    if isinstance(problem, OSError | SafetensorError):
        return Error(
            f"A file of the run {run.name} can't be written ({problem}): make room or allow it, then go on with "
            f"--resume {run.name}; {_kept(run)}"
        )
    return None


@contextmanager
def told(run: RunFolder) -> Iterator[None]:
    """Where what happens within it fails, the run's status says so; what a user can mend becomes an `Error`."""
    try:
        yield
    except BaseException as problem:
        sentence = in_words(problem, run.last_step + 1, run)
        with suppress(OSError, Error):  # a disk that is full stays full
            run.write_failure(str(sentence or problem) or type(problem).__name__)
        if sentence:
            raise sentence from problem
        raise


def _outside(problem: OSError, run: RunFolder) -> Path | None:
    """The file that could not be reached, where it is none that a run writes; images may lie in the workspace too."""
    if not isinstance(problem.filename, str | bytes) or not problem.filename:
        return None
    path = Path(os.fsdecode(problem.filename)).absolute()
    written = (run.path.absolute(), run.workspace / "adapters", run.workspace / "cache")
    return None if any(path.is_relative_to(folder) for folder in written) else path


def _kept(run: RunFolder) -> str:
    step = Checkpoint.newest_step(run.checkpoints)
    return f"the checkpoint of step {step} is kept" if step is not None else "there is no checkpoint yet"
