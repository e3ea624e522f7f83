"""Training on top of other adapters: they are merged into the base first, and the new one learns what they lack.

The merged weights are W + Σ wᵢ · ΔWᵢ, the very sum that the `Mixer` makes, before the base is rounded to the run's
precision. The file holds what was learned alone: it is mixed with the others, at the weights that they had here.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ..adapters import Adapter, library
from ..adapters.algebra import mixed_bias, mixed_weight
from ..adapters.algebra.mixes import Mix, terms_by_module, weighted
from ..bases import Base
from ..errors import Error
from ..files import write_text
from .config import TrainConfig
from .run_folder import RunFolder

FILE = "merged.json"


@dataclass(frozen=True)
class Merged:
    """One adapter that a run's base holds. Its `content` is a hash of what it adds, whatever its file is called."""

    name: str
    weight: float
    content: str


@torch.no_grad()
def merge_into(base: Base, config: TrainConfig) -> list[Merged]:
    """Add the adapters of `config.merged` to the base's weights, in place.

    Raises `Error`, before anything is changed, for one that is not there or was made for another base.
    """
    mix = _mix(config)
    modules: dict[str, Any] = dict(base.modules())
    for adapter, _ in mix:
        _check(adapter, base, modules)
    for path, terms in terms_by_module(mix).items():
        module = modules[path]
        if any(update.changes_bias for _, update in terms):
            module.bias.copy_(mixed_bias(module.bias, terms))
        module.weight.copy_(mixed_weight(module.weight, terms))
    return listed(mix)


def contents(config: TrainConfig) -> list[str]:
    """What the adapters of `config.merged` add, in any order; it tells one base with adapters in it from another."""
    return sorted(f"{one.content}:{one.weight:g}" for one in listed(_mix(config)))


def listed(mix: Mix) -> list[Merged]:
    return [Merged(adapter.name, weight, adapter.content_hash) for adapter, weight in mix]


def _mix(config: TrainConfig) -> Mix:
    """The adapters of `config.merged` with their weights. Raises `Error` for one that is not there."""
    if not config.merged:
        return []
    named = [library.parse_weight(text) for text in config.merged]
    files = [library.find(name, Path(config.workspace) / "adapters") for name, _ in named]
    return weighted([library.load(file) for file in files], [weight for _, weight in named])


def described(texts: list[str]) -> str:
    """The settings' adapters by name and weight alone, without the folders that they lie in."""
    pairs = [library.parse_weight(text) for text in texts]
    return ", ".join(f"{Path(name).name.removesuffix(library.SUFFIX)}:{weight:g}" for name, weight in pairs)


def note_merged(run: RunFolder, merged: list[Merged]) -> None:
    """Write down what a new run's base holds."""
    if merged:
        write_text(run.path / FILE, json.dumps([asdict(one) for one in merged], indent=2) + "\n")


def refuse_changed(run: RunFolder, merged: list[Merged]) -> None:
    """Raises `Error` where a run that goes on does not find in its base what it began with."""
    file = run.path / FILE
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    for before, now in zip(known, merged, strict=False):
        if before["content"] != now.content:
            raise Error(
                f"The adapter {now.name}, which is merged into the base of {run.name}, is not what it was when the run "
                f"began: put the file back as it was, or start a new run with --again {run.name}"
            )


def _check(adapter: Adapter, base: Base, modules: dict[str, Any]) -> None:
    """Raises `Error` unless all of it can be added: part of an adapter would be another adapter."""
    why = f"The adapter {adapter.name!r} can't be merged into {base.path}"
    if adapter.family not in (None, base.family):
        raise Error(f"{why}: it is for {adapter.family}, the base is {base.family}")
    if adapter.tokens or adapter.tokens_2:
        raise Error(f"{why}: it has learned tokens, for which a base's weights have no place")
    for path, update in adapter.updates.items():
        if not update.mergeable:
            raise Error(f"{why}: it is a {update.kind} adapter, which no change of a weight can stand for")
        weight = getattr(modules.get(path), "weight", None)
        if weight is None or not update.fits(weight):
            raise Error(f"{why}: it was made for a base of another size, its {path} does not fit")
        if update.changes_bias and modules[path].bias is None:
            raise Error(f"{why}: it changes the bias of {path}, which has none here")
