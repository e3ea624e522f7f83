"""From a file's keys to an `Adapter`, whatever the format: place every key, read what has a place, report the rest."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ...errors import Error, printable
from .. import tables
from ..adapter import Adapter, LoadReport
from ..families import misfits, tell_family, tell_geometry
from ..updates import Update, update_from
from ..updates.parts import MAX_RANK
from . import cloneofsimo, comfy, diffusers, kohya, lycoris, other_models, textual_inversion
from .container import Tensors
from .dotted import known_parts
from .header import Entry
from .peft_config import PeftConfig, from_metadata
from .placing import Format, Place

# Which axis of a part is the rank, to be looked at before anything is read.
RANK_AXIS = {"lora_down.weight": 0, "lora_up.weight": 1, "hada_w1_b": 0, "hada_w2_b": 0, "lokr_w1_b": 0, "lokr_w2_b": 0}
LARGEST_TENSOR = 2**27  # numbers; four times the largest weight of any family


@dataclass
class _Module:
    """What a file holds for one module: part → key, and the format that it is in."""

    format: Format
    name: str
    keys: dict[str, str] = field(default_factory=dict)


@dataclass
class _Sorted:
    """All keys of a file: modules by path, the families that their names leave, and what has no place."""

    modules: dict[str, _Module] = field(default_factory=dict)
    families: set[str] = field(default_factory=lambda: set(tables.FAMILIES))
    unknown: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_adapter(
    source: Tensors,
    name: str,
    where: str,
    configs: dict[str, PeftConfig] | None = None,
    component: str | None = None,
) -> Adapter:
    """The adapter in `source`. `where` names the file in messages; `configs` and `component` come from a PEFT folder.

    Keys that are not understood and modules that make no sense are reported, never fatal. Raises `Error` when nothing
    is left, saying what the file is where that can be told.
    """
    tokens = textual_inversion.find(source, name)
    configs = from_metadata(source.metadata) if configs is None else configs
    formats = [
        kohya.FORMAT,
        lycoris.FORMAT,
        comfy.FORMAT,
        cloneofsimo.format_for(source.entries),
        diffusers.format_for(configs, component),
    ]
    found = _sort((key for key in source.entries if key not in tokens.keys), formats)
    _refuse_other_models(found, source, where)
    updates, left_out = _read_modules(source, found)
    family = tell_family({p: u.shape for p, u in updates.items()}, source.metadata, _left(found, tokens))
    geometry = tell_geometry({path: update.shape for path, update in updates.items()}, family)
    left_out |= _drop_misfits(updates, geometry)
    if not updates and not tokens.first and not tokens.second:
        raise _nothing_left(where, source, found, left_out, tokens.warnings)
    warnings = [*found.warnings, *tokens.warnings]
    for part, config in configs.items():
        warnings += config.warnings(part)
    report = LoadReport(_format_name(found), tuple(sorted(found.unknown)), left_out, tuple(warnings))
    metadata = dict(source.metadata)
    if report.format == "cloneofsimo":
        metadata = cloneofsimo.without_its_own(metadata)
    return Adapter(name, updates, tokens.first, metadata, family, report, tokens.second, geometry)


def _sort(keys: Iterable[str], formats: Sequence[Format]) -> _Sorted:
    found = _Sorted()
    for key in keys:
        placed = next(((f, place) for f in formats if (place := f.place(key)) is not None), None)
        if placed is None or placed[1].path is None or placed[1].part not in known_parts():
            found.unknown.append(key)
            continue
        _put(found, key, *placed)
    return found


def _put(found: _Sorted, key: str, format: Format, place: Place) -> None:
    assert place.path is not None
    module = found.modules.setdefault(place.path, _Module(format, place.module))
    if place.module != module.name or place.part in module.keys:
        found.unknown.append(key)
        twice = f"{place.path} is in the file twice: {module.name} was taken, {place.module} left out"
        found.warnings += [twice] if twice not in found.warnings else []
        return
    module.keys[place.part] = key
    found.families &= place.families


def _refuse_other_models(found: _Sorted, source: Tensors, where: str) -> None:
    """A file for another model may share a text encoder with ours; one with parts of our UNet is ours."""
    if any(path.startswith("unet.") for path in found.modules):
        return
    if name := other_models.kind_of(source.entries):
        raise Error(f"{where} is {name}; sdlora reads adapters for Stable Diffusion 1.x, 2.x and XL.")


def _read_modules(source: Tensors, found: _Sorted) -> tuple[dict[str, Update], dict[str, str]]:
    updates: dict[str, Update] = {}
    left_out: dict[str, str] = {}
    for path, module in found.modules.items():
        try:
            updates[path] = _update(source, path, module, found.unknown)
        except Error as problem:
            left_out[path] = str(problem)
    return updates, left_out


def _update(source: Tensors, path: str, module: _Module, unknown: list[str]) -> Update:
    for part, key in module.keys.items():
        _check_size(part, source.entries[key])
    parts = module.format.parts(path, {part: source.read(key) for part, key in module.keys.items()})
    update, understood = update_from(parts)
    unknown += [key for part, key in module.keys.items() if part in parts.keys() - understood]
    return update


def _check_size(part: str, entry: Entry) -> None:
    axis = RANK_AXIS.get(part)
    if axis is not None and len(entry.shape) > axis and entry.shape[axis] > MAX_RANK:
        raise Error(f"rank {entry.shape[axis]} is more than any model has room for (at most {MAX_RANK})")
    numbers = 1
    for n in entry.shape:
        numbers *= n
    if numbers > LARGEST_TENSOR:
        raise Error(f"its {part} is {entry.shape}, larger than any part of an adapter")


def _left(found: _Sorted, tokens: textual_inversion.Tokens) -> set[str]:
    """The families that names and tokens leave. An SDXL token has vectors for the second text encoder too."""
    families = set(found.families)
    if tokens.second:
        return families & {"sdxl"}
    widths = {vectors.shape[-1] for vectors in tokens.first.values()}
    return families & {768: {"sd1"}, 1024: {"sd2"}}.get(widths.pop(), families) if len(widths) == 1 else families


def _drop_misfits(updates: dict[str, Update], geometry: str | None) -> dict[str, str]:
    """Take out the few modules whose shape is not that of the geometry that all others have."""
    wrong = misfits({path: update.shape for path, update in updates.items()}, geometry)
    return {
        path: f"it is for a weight {updates.pop(path).shape}, {geometry}'s is {right}" for path, right in wrong.items()
    }


def _nothing_left(
    where: str, source: Tensors, found: _Sorted, left_out: dict[str, str], warnings: Sequence[str]
) -> Error:
    if left_out:
        path, reason = next(iter(left_out.items()))
        return Error(f"{where}: none of its {len(left_out)} modules could be read; {path}: {reason}")
    if warnings:
        return Error(f"{where}: {warnings[0]}, and nothing else is in it")
    example = next(iter(source.entries), None)
    first = f"first key: {printable(example, 100)}" if example is not None else "it has no tensors"
    return Error(f"{where} holds no adapter in a format sdlora knows ({first})")


def _format_name(found: _Sorted) -> str:
    """The format that most modules are in."""
    counts = Counter(module.format.name for module in found.modules.values())
    return counts.most_common(1)[0][0] if counts else "textual inversion"
