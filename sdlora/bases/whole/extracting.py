"""An adapter made of the difference between two checkpoints."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sdlora.adapters.adapter import Adapter
from sdlora.adapters.algebra import describing
from sdlora.adapters.algebra.deltas import whole_update
from sdlora.adapters.algebra.low_rank import Reduction
from sdlora.adapters.algebra.report import ErrorReport, ModuleError
from sdlora.adapters.updates import Update
from sdlora.bases.base import Base
from sdlora.bases.whole.checkpoint import WholeCheckpoint, open_whole
from sdlora.errors import Error


def extract(
    base: Base | str | Path,
    tuned: Base | str | Path,
    *,
    rank: int | None = None,
    keep: float | None = None,
    full: bool = False,
) -> tuple[Adapter, ErrorReport]:
    """The adapter that turns `base` into `tuned`: LoRA of tuned − base for every linear layer and convolution.

    Each has at most `rank`, or keeps `keep` of its energy Σσ². Norm layers that differ are kept whole. Biases that
    differ have no place in a LoRA: they are left out, with a note, or, with `full`, their modules are kept whole.
    Both are read from disk module by module (folders and single files, in any combination), so that memory stays near
    what the largest module takes. Raises `Error` for models of different families or sizes, or that do not differ.
    """
    size = Reduction(rank=rank, keep=keep)
    if not size:
        raise Error("say how large the adapter may be: rank or keep (--rank, --keep)")
    before, after = open_whole(base), open_whole(tuned)
    _check_pair(before, after)
    found = _Found({}, {}, {})
    for path in before.modules:
        _extract_module(before, after, path, size, full, found)
    if not found.updates:
        raise Error(f"{after.path} does not differ from {before.path} in anything that this adapter can hold")
    metadata = describing.of_resized(describing.of_family(before.family), found.updates)
    adapter = Adapter(Path(after.path).stem, found.updates, metadata=metadata, family=before.family)
    return adapter, ErrorReport(found.errors, tuple(found.notes))


@dataclass(frozen=True)
class _Found:
    """What has been extracted so far; `left_out` has the norms of the changes that an adapter can't hold, by name."""

    updates: dict[str, Update]
    errors: dict[str, ModuleError]
    left_out: dict[str, float]

    @property
    def notes(self) -> Iterator[str]:
        if norms := sum(update.kind == "norm" for update in self.updates.values()):
            yield f"{norms} norm layers differ and are kept whole"
        for part, what in ((".bias", "biases"), (".weight", "embedding tables")):
            if lost := [norm for name, norm in self.left_out.items() if name.endswith(part)]:
                hint = "; full=True (--full) keeps their modules whole" if what == "biases" else ""
                yield f"{len(lost)} {what} differ and are left out (norm of the change: {math.hypot(*lost):.3g}){hint}"


def _extract_module(
    before: WholeCheckpoint, after: WholeCheckpoint, path: str, size: Reduction, full: bool, found: _Found
) -> None:
    weight, bias = (_difference(before, after, f"{path}.{part}") for part in ("weight", "bias"))
    shape = before.shapes[f"{path}.weight"]
    if weight is not None and "embeddings." in path:
        found.left_out[f"{path}.weight"], weight = float(weight.norm()), None
    if bias is not None and len(shape) > 1 and not full:
        found.left_out[f"{path}.bias"], bias = float(bias.norm()), None
    if weight is not None or bias is not None:
        whole = torch.zeros(shape) if weight is None else weight
        found.updates[path], found.errors[path] = whole_update(whole, bias, size)


def _check_pair(before: WholeCheckpoint, after: WholeCheckpoint) -> None:
    if before.family != after.family:
        raise Error(f"{before.path} is {before.family} and {after.path} is {after.family}: give two of one family")
    for path in before.modules:
        name = f"{path}.weight"
        if name not in after.places:
            raise Error(f"{after.path} has no module {path}, {before.path} has: they are not of one kind")
        if before.shapes[name] != after.shapes[name]:
            raise Error(
                f"{path} is {before.shapes[name]} in {before.path} and {after.shapes[name]} in {after.path}: "
                "give two models of one size"
            )


def _difference(before: WholeCheckpoint, after: WholeCheckpoint, name: str) -> Tensor | None:
    """after − before in fp32; None where they are equal, or have no such weight."""
    if name not in before.places or name not in after.places:
        return None
    difference = after.read(name).float().sub_(before.read(name))
    return difference if difference.any() else None
