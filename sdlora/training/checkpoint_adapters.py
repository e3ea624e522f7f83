"""The adapters that a run's checkpoints hold, as files that can be mixed."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..adapters import Adapter, save_adapter
from ..adapters.updates import LoRA
from ..errors import Error
from .checkpoints import Checkpoint
from .config import ResolvedConfig
from .run_folder import RunFolder


def find_run(which: str, workspace: Path) -> RunFolder:
    """A run by its folder or its name under `runs/`. Raises `Error` naming those that there are."""
    runs = workspace / "runs"
    found = next((path for path in (Path(which), runs / which) if (path / "config.toml").is_file()), None)
    if found is None:
        known = ", ".join(sorted(path.parent.name for path in runs.glob("*/config.toml"))) or "none"
        raise Error(f"There is no run {which!r}: give a run's folder or a name under {runs}, which has {known}")
    return RunFolder(found)


def write_checkpoint_adapters(run: RunFolder, steps: Sequence[int] | None, folder: Path) -> Mapping[int, Path | None]:
    """Write the adapters of these steps (None: of all) into `folder`, in fp32; step 0, before any, has none.

    Raises `Error` for a step without a checkpoint, naming those that have one.
    """
    there = {int(file.stem.removeprefix("step-")): file for file in run.checkpoints.glob("step-[0-9]*.safetensors")}
    wanted = sorted(there) if steps is None else steps
    missing = [step for step in wanted if step not in there and step]
    if missing or not wanted:
        known = ", ".join(map(str, sorted(there))) or "none"
        what = f"no checkpoint of step {missing[0]}" if missing else "no checkpoint"
        raise Error(f"The run {run.name} has {what}: it has {known} (--keep-checkpoints keeps more of a training)")
    config = run.config()
    return {step: _write(there[step], run, config, folder) if step else None for step in wanted}


def _write(checkpoint: Path, run: RunFolder, config: ResolvedConfig, folder: Path) -> Path:
    weights = Checkpoint.load(checkpoint).weights
    paths = dict.fromkeys(key.rpartition(".")[0] for key in weights)
    updates = {path: LoRA(weights[f"{path}.down"], weights[f"{path}.up"], config.effective_alpha) for path in paths}
    name = f"{run.name}-{checkpoint.stem}"
    return save_adapter(Adapter(name, dict(updates)), folder / f"{name}.safetensors", dtype="fp32")
