"""Adapters put into a full checkpoint, which other programs then load as any model."""

import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from sdlora.adapters.adapter import Adapter
from sdlora.adapters.algebra.mixed import Term, mixed_bias, mixed_weight
from sdlora.adapters.algebra.mixes import common_family, terms_by_module, weighted
from sdlora.adapters.formats.container import Container, Tensors
from sdlora.bases.base import Base, with_text_model
from sdlora.bases.folder import weights_files
from sdlora.bases.whole.checkpoint import WholeCheckpoint, open_whole
from sdlora.bases.whole.places import Place
from sdlora.bases.whole.writing import Change, write_changed
from sdlora.errors import Error
from sdlora.files import write_atomically, write_folder_atomically, write_text

Changes = dict[Path, dict[str, list[Change]]]  # of each file, by key
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".h5", ".onnx", ".pb", ".gguf")


@dataclass(frozen=True)
class Applied:
    """The checkpoint that was written, how many modules in it changed, and what could not be put into it."""

    path: Path
    modules: int
    notes: tuple[str, ...] = ()


def apply(
    base: Base | str | Path,
    adapters: Sequence[Adapter],
    weights: Sequence[float],
    out: str | Path,
    *,
    force: bool = False,
) -> Applied:
    """Write the base's checkpoint with W + Σ wᵢ · ΔWᵢ for each adapted weight and bias, rounded once to its own dtype.

    The weights are the bits that `Mixer` puts on a base of that dtype. A folder gives a folder, a single file a single
    file in the same layout; they are read from disk and written tensor by tensor, atomically. Raises `Error` for
    adapters of another family or size, and when `out` exists, unless `force` is given.
    """
    checkpoint, out = open_whole(base), Path(out).expanduser()
    _check_target(checkpoint, out, force)
    mix = weighted(adapters, weights)
    chosen = [adapter for adapter, _ in mix]
    for adapter in chosen:
        _check_adapter(checkpoint, adapter)
    common_family(chosen)
    terms = terms_by_module(mix)
    changes = _changes(checkpoint, terms)
    if checkpoint.location.is_dir():
        write_folder_atomically(out, partial(_write_folder, checkpoint, changes))
    else:
        write_atomically(out, partial(_write_file, checkpoint, changes, checkpoint.location))
    tokens = [token for adapter in chosen for token in adapter.tokens]
    note = f"the learned tokens {', '.join(tokens)} are not in it: a checkpoint has no place for them"
    return Applied(out, len(terms), (note,) if tokens else ())


def _check_target(checkpoint: WholeCheckpoint, out: Path, force: bool) -> None:
    source = checkpoint.location.resolve()
    for file, opened in checkpoint.files.items():
        if not isinstance(opened, Container):
            raise Error(f"{file} is a pickled file: apply works on .safetensors files and folders of them")
    if source in (out.resolve(), *out.resolve().parents):
        raise Error(f"{out} is the base itself, or in it: write the result somewhere else")
    if source.is_file() and out.suffix.lower() != ".safetensors":
        raise Error(f"the base is a single file, so the result is one too: give it a name in .safetensors, not {out}")
    if source.is_dir() and out.suffix.lower() in WEIGHT_SUFFIXES:
        raise Error(f"the base is a diffusers folder, so the result is one too: {out} is a file's name")
    if not out.exists():
        return
    if not force:
        raise Error(f"{out} exists: choose another name, or overwrite it with force (--force)")
    if out.is_dir() != source.is_dir() or (source.is_dir() and not (out / "model_index.json").is_file()):
        raise Error(f"{out} exists and is no {'diffusers folder' if source.is_dir() else 'file'}: choose another name")


def _check_adapter(checkpoint: WholeCheckpoint, adapter: Adapter) -> None:
    """Raises `Error` for an adapter that does not fit as a whole: part of an adapter would be another adapter."""
    if adapter.family not in (None, checkpoint.family):
        raise Error(
            f"adapter {adapter.name!r} is for {adapter.family}, the base {checkpoint.path} is {checkpoint.family}"
        )
    for path, update in adapter.updates.items():
        if f"{path}.weight" not in checkpoint.places:
            raise Error(f"adapter {adapter.name!r} was made for another base: {checkpoint.path} has no module {path}")
        shape = checkpoint.shapes[f"{path}.weight"]
        if not update.mergeable:
            raise Error(f"adapter {adapter.name!r} can't be written into a checkpoint: it is a {update.kind} adapter")
        if not update.fits(torch.empty(shape, device="meta")):
            raise Error(
                f"adapter {adapter.name!r} was made for a base of another size: its {path} is for {update.made_for}, "
                f"the weight in {checkpoint.path} is {shape}"
            )
        if update.changes_bias and f"{path}.bias" not in checkpoint.places:
            raise Error(f"adapter {adapter.name!r} changes the bias of {path}, which has none in {checkpoint.path}")


def _changes(checkpoint: WholeCheckpoint, terms: dict[str, list[Term]]) -> Changes:
    changes: Changes = defaultdict(lambda: defaultdict(list))
    for path, own in terms.items():
        names: dict[str, Callable[[Tensor, Sequence[Term]], Tensor]] = {f"{path}.weight": mixed_weight}
        if any(update.changes_bias for _, update in own):
            names[f"{path}.bias"] = mixed_bias
        for name, mixed in names.items():
            place = checkpoint.places[name]
            changes[place.file][place.key].append(partial(_change, place, mixed, own))
    return changes


def _change(
    place: Place, mixed: Callable[[Tensor, Sequence[Term]], Tensor], terms: Sequence[Term], stored: Tensor
) -> None:
    part = place.part(stored)
    # contiguous, as the Mixer has it: the bits of a sum depend on how its numbers lie in memory
    part.copy_(mixed(part.contiguous(), terms))


def _write_file(checkpoint: WholeCheckpoint, changes: Changes, file: Path, target: Path) -> None:
    names = {place.key: _written_key(name, place) for name, place in checkpoint.places.items() if place.file == file}
    write_changed(_container(checkpoint.files[file]), target, changes.get(file, {}), names)


def _container(tensors: Tensors) -> Container:
    assert isinstance(tensors, Container)  # `_check_target` has seen to it
    return tensors


def _written_key(name: str, place: Place) -> str:
    """The key with `text_model.` put in where a text encoder's lacks it, as old programs need it."""
    component, _, inner = name.partition(".")
    bare = inner.removeprefix("text_model.")
    if not component.startswith("text_encoder") or bare == inner or not place.key.endswith(bare):
        return place.key
    return f"{place.key.removesuffix(bare).removesuffix('text_model.')}text_model.{bare}"


def _write_folder(checkpoint: WholeCheckpoint, changes: Changes, target: Path) -> None:
    source = checkpoint.location
    kept = set(checkpoint.files)
    for component in {file.parent for file in source.rglob("*") if file.suffix in WEIGHT_SUFFIXES} - {source}:
        kept |= set(weights_files(component, None) or weights_files(component, "fp16"))
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        relative = file.relative_to(source)
        copy = target / relative
        hidden = any(part.startswith(".") for part in relative.parts)
        # other copies of the weights (fp16, .bin, one big file) would be the base's own
        if hidden or (file.suffix in WEIGHT_SUFFIXES and file not in kept):
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        if file in checkpoint.files:
            _write_file(checkpoint, changes, file, copy)
        elif ".index." in file.name and file.suffix == ".json":
            _write_index(file, kept, copy)
        else:
            shutil.copyfile(file, copy)


def _write_index(file: Path, kept: set[Path], copy: Path) -> None:
    """The list of which shard has which key, if the shards are there."""
    content = json.loads(file.read_text(encoding="utf-8"))
    shards = content.get("weight_map", {})
    if not all(file.parent / shard in kept for shard in shards.values()):
        return
    if file.parent.name.startswith("text_encoder"):
        content["weight_map"] = {with_text_model(key): shard for key, shard in shards.items()}
    write_text(copy, json.dumps(content, indent=2) + "\n")
