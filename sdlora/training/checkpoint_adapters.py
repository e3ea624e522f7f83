"""The adapters that a run's checkpoints hold, as files that can be mixed."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..adapters import Adapter, save_adapter
from ..errors import Error
from .checkpoints import Checkpoint
from .layers import Plan, updates_from
from .learned_tokens import TOKENS, vectors_of
from .run_folder import RunFolder


def write_checkpoint_adapters(run: RunFolder, steps: Sequence[int] | None, folder: Path) -> Mapping[int, Path | None]:
    """Write the adapters of these steps (None: of all) into `folder`, in fp32; step 0, before any, has none.

    Raises `Error` for a step without a checkpoint, naming those that have one.
    """
    there = {step: Checkpoint.file(run.checkpoints, step) for step in Checkpoint.steps(run.checkpoints)}
    wanted = sorted(there) if steps is None else steps
    missing = [step for step in wanted if step not in there and step]
    if missing or not wanted:
        known = ", ".join(map(str, sorted(there))) or "none"
        what = f"no checkpoint of step {missing[0]}" if missing else "no checkpoint"
        raise Error(f"The run {run.name} has {what}: it has {known} (--keep-checkpoints keeps more of a training)")
    return {step: _write(Checkpoint.load(there[step]), run, folder) if step else None for step in wanted}


def adapter_of(checkpoint: Checkpoint, run: RunFolder) -> Adapter:
    """The adapter that a checkpoint of a run holds, named `RUN-step-NNNNNN`."""
    of_layers = {key: weight for key, weight in checkpoint.weights.items() if not key.startswith(TOKENS)}
    updates = updates_from(of_layers, Plan.of(run.config()))
    first, second = vectors_of(checkpoint.weights, run.config().trigger)
    name = f"{run.name}-step-{checkpoint.step:06d}"
    return Adapter(name, updates, first, dict(checkpoint.metadata), tokens_2=second)


def _write(checkpoint: Checkpoint, run: RunFolder, folder: Path) -> Path:
    adapter = adapter_of(checkpoint, run)
    return save_adapter(adapter, folder / f"{adapter.name}.safetensors", dtype="fp32")
