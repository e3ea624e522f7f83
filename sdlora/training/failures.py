"""What stopped a training, in a sentence that says what to try."""

import torch
from safetensors import SafetensorError

from ..errors import Error
from .checkpoints import Checkpoint
from .run_folder import RunFolder


def not_finite(what: str, value: float, step: int, run: RunFolder) -> Error:
    """A number that became NaN or infinite."""
    return Error(
        f"The {what} became {value} at step {step} of {run.name}: start again with a lower learning_rate or "
        f"precision = fp32; {_kept(run)}"
    )


def in_words(problem: BaseException, step: int, run: RunFolder) -> Error | None:
    """What a user can mend as an `Error`; None for a mistake of ours and for what is an `Error` already."""
    if isinstance(problem, torch.OutOfMemoryError):
        advice = "lower batch_size (and raise gradient_accumulation) or resolution, or set gradient_checkpointing"
        return Error(f"The GPU's memory is not enough for step {step} of {run.name}: {advice}")
    if isinstance(problem, OSError | SafetensorError):
        return Error(
            f"A file of the run {run.name} can't be written ({problem}): make room or allow it, then go on with "
            f"--resume {run.name}; {_kept(run)}"
        )
    return None


def _kept(run: RunFolder) -> str:
    step = Checkpoint.newest_step(run.checkpoints)
    return f"the checkpoint of step {step} is kept" if step is not None else "there is no checkpoint yet"
