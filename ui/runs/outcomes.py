"""What a run has made: which of its steps becomes the adapter in the library."""

from pathlib import Path

from PIL import Image

from sdlora.errors import Error
from sdlora.training.checkpoint_adapters import write_checkpoint_adapters
from sdlora.training.keeping import keep
from sdlora.training.run_status import WORKING

from .queue import RunQueue
from .watching import columns


def library_file(queue: RunQueue, run: str) -> Path:
    """Where the run's adapter is in the library, once it is there."""
    return queue.workspace / "adapters" / f"{run}.safetensors"


def keep_step(queue: RunQueue, run: str, step: int) -> str:
    """Make a step the run's adapter, at once or when the run has ended; a sentence on that.

    Raises `Error` where it has no checkpoint.
    """
    folder = queue.run_folder(run)
    if folder.state in WORKING:
        if not any(column.step == step and column.keepable for column in columns(folder)):
            raise Error(f"The checkpoint of step {step} is no longer there.")
        folder.keep(step)  # its checkpoint stays from now on
        return f"Step {step} becomes the adapter {run} when the run has ended."
    return f"Step {keep(run, step, queue.workspace).step} is now the adapter {run} in the library."


def keep_what_was_asked(queue: RunQueue, run: str) -> None:
    """When a run has left the queue: the step that the user chose, or what a stopped one has learned, is kept."""
    folder = queue.run_folder(run)
    if not folder.config_file.is_file():
        return
    if folder.kept is not None:
        if folder.status().get("adapter_step") != folder.kept or not library_file(queue, run).is_file():
            keep(run, folder.kept, queue.workspace)
    elif folder.state == "stopped":
        keep(run, "last", queue.workspace)


def adapter_of_run(queue: RunQueue, run: str) -> str:
    """The library's name of the run's adapter, put there if it is not yet. Raises `Error` where it has none."""
    if not library_file(queue, run).is_file():
        step = queue.run_folder(run).status().get("adapter_step")
        keep(run, step if isinstance(step, int) and step else "last", queue.workspace)
    return run


def adapter_of_step(queue: RunQueue, run: str, step: int) -> str:
    """The library's name for the adapter of a step: the run's own, or one that is written beside it.

    Raises `Error` where the step has no checkpoint.
    """
    folder = queue.run_folder(run)
    if folder.status().get("adapter_step") == step and library_file(queue, run).is_file():
        return run
    written = write_checkpoint_adapters(folder, [step], queue.workspace / "adapters")[step]
    return written.stem if written else run


def picture(queue: RunQueue, run: str, name: str) -> Image.Image:
    """A preview in full. Raises `Error` for a name that is none of the run's."""
    files = {path.name: path for one in columns(queue.run_folder(run)) for path in one.pictures.values()}
    if name not in files:
        raise Error("This picture is no longer there.")
    with Image.open(files[name]) as image:
        return image.convert("RGB")
