"""Everything a run needs to go on, in one safetensors file: adapter, optimiser, schedule, step. No pickle."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ..errors import Error
from ..files import write_atomically


@dataclass(frozen=True)
class Checkpoint:
    """`weights` maps `{path}.{name}` to tensors in fp32 (`{module path}.down|up`), `states` each part (optimizer, …)
    to its state dict; `metadata` is what the file of an adapter with these weights says."""

    step: int
    weights: Mapping[str, Tensor]
    states: dict[str, dict[str, Any]]
    metadata: dict[str, str] = field(default_factory=dict)

    def save(self, folder: Path) -> Path:
        """Write `step-NNNNNN.safetensors` atomically."""
        tensors: dict[str, Tensor] = {f"weights/{k}": _stored(v) for k, v in self.weights.items()}
        states = _taken_apart(self.states, "states", tensors)
        plain = {"step": self.step, "states": states, "metadata": self.metadata}
        target = self.file(folder, self.step)
        header = {"sdlora": json.dumps(plain)}
        write_atomically(target, lambda path: safetensors.torch.save_file(tensors, path, metadata=header))
        return target

    @staticmethod
    def prune(folder: Path, keep: int, also: Collection[int | None] = ()) -> None:
        """Remove all but the newest `keep` and those of `also`; each is as large as three adapters in fp32."""
        for file in sorted(_files(folder), key=_step_of)[:-keep]:
            if _step_of(file) not in also:
                file.unlink(missing_ok=True)

    @staticmethod
    def load(path: Path) -> "Checkpoint":
        """Raises `Error` when the file is damaged."""
        try:
            with safetensors.safe_open(path, "pt") as file:
                plain = json.loads(file.metadata()["sdlora"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}
        except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as problem:
            raise Error(
                f"The checkpoint {path} can't be read ({problem}): delete it and resume from the one before"
            ) from None
        weights = {k.removeprefix("weights/"): v for k, v in tensors.items() if k.startswith("weights/")}
        return Checkpoint(plain["step"], weights, _put_together(plain["states"], tensors), plain.get("metadata", {}))

    @staticmethod
    def newest(folder: Path) -> "Checkpoint | None":
        """The one with the most steps, None where there is none."""
        files = {_step_of(file): file for file in _files(folder)}
        return Checkpoint.load(files[max(files)]) if files else None

    @staticmethod
    def steps(folder: Path) -> list[int]:
        """Those that there are, the first one first."""
        return sorted(map(_step_of, _files(folder)))

    @staticmethod
    def file(folder: Path, step: int) -> Path:
        """Where the one of a step is, or would be."""
        return folder / f"step-{step:06d}.safetensors"

    @staticmethod
    def newest_step(folder: Path) -> int | None:
        """How far the newest one goes, None where there is none."""
        return max(map(_step_of, _files(folder)), default=None)


def _files(folder: Path) -> Iterator[Path]:
    return folder.glob("step-[0-9]*.safetensors")


def _step_of(file: Path) -> int:
    return int(file.stem.removeprefix("step-"))


def _taken_apart(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    """A nested state as JSON, its tensors moved to `tensors` and replaced by where they are."""
    if isinstance(value, Tensor):
        tensors[place] = _stored(value)
        return {"tensor": place}
    if isinstance(value, dict):
        # keys of optimiser states are integers, which JSON would turn into strings: pairs keep them
        return {"items": [[k, _taken_apart(v, f"{place}/{k}", tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return [_taken_apart(v, f"{place}/{i}", tensors) for i, v in enumerate(value)]
    return value


def _put_together(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if "tensor" in value:
            return tensors[value["tensor"]]
        return {k: _put_together(v, tensors) for k, v in value["items"]}
    return [_put_together(v, tensors) for v in value] if isinstance(value, list) else value


def _stored(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous(memory_format=torch.contiguous_format)
