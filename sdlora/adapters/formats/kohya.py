"""The Kohya key format, which every tool reads: `{prefix}_{module path with '_'}.{lora_down.weight|lora_up.weight|alpha}`.

Source: kohya-ss/sd-scripts, `networks/lora.py`. A missing alpha means alpha = rank; ranks and alphas may differ from
module to module.
"""

from collections import defaultdict

import torch
from torch import Tensor

from ...errors import Error
from .. import tables
from ..adapter import Adapter, LoadReport
from ..families import tell_family
from ..updates import LoRA

PREFIXES = ("lora_unet_", "lora_te_", "lora_te1_", "lora_te2_")
DOWN, UP, ALPHA = "lora_down.weight", "lora_up.weight", "alpha"


def matches(keys: dict[str, Tensor]) -> bool:
    """Whether any key has a Kohya prefix and one of its suffixes."""
    return any(key.startswith(PREFIXES) and key.partition(".")[2] in (DOWN, UP, ALPHA) for key in keys)


def read(name: str, tensors: dict[str, Tensor], metadata: dict[str, str]) -> Adapter:
    """Module paths and updates from keys. What is not understood is reported, never fatal, unless nothing is left."""
    groups: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, tensor in tensors.items():
        module, _, part = key.partition(".")
        groups[module][part] = tensor
    paths = _best_table(groups)
    updates, unknown, warnings = {}, [], []
    for module, parts in groups.items():
        if module not in paths or not {DOWN, UP} <= parts.keys():
            unknown += [f"{module}.{part}" for part in parts]
            continue
        unknown += [f"{module}.{part}" for part in parts.keys() - {DOWN, UP, ALPHA}]
        try:
            updates[paths[module]] = _update(parts)
        except Error as problem:
            warnings.append(f"{module}: {problem}")
    if not updates:
        raise Error(f"adapter {name!r}: none of its {len(groups)} modules could be read (first: {next(iter(groups))})")
    report = LoadReport("kohya", tuple(sorted(unknown)), tuple(warnings))
    return Adapter(name, updates, metadata=dict(metadata), family=tell_family(updates, metadata), report=report)


def write(adapter: Adapter, dtype: torch.dtype) -> dict[str, Tensor]:
    """Keys and tensors in `dtype`. Raises `Error` for a value that `dtype` can't hold."""
    names = tables.names_by_path(adapter.family or "sd1")
    tensors = {}
    for path, update in sorted(adapter.updates.items()):
        if not isinstance(update, LoRA):
            raise Error(f"{path}: {type(update).__name__} updates can't be written in Kohya's format yet")
        if path not in names:
            raise Error(f"{path} is no module of a {adapter.family} model, so Kohya's format has no name for it")
        parts = {DOWN: update.down, UP: update.up, ALPHA: torch.tensor(update.alpha)}
        for part, tensor in parts.items():
            # alphas such as 11.3 (rank-stabilised) would change in fp16: they cost nothing in fp32
            stored = tensor.detach().to("cpu", torch.float32 if part == ALPHA else dtype).contiguous()
            if not stored.isfinite().all():
                raise Error(f"{path} {part} holds values that {dtype} can't: nothing was written; save as fp32 or bf16")
            tensors[f"{names[path]}.{part}"] = stored
    return tensors


def _update(parts: dict[str, Tensor]) -> LoRA:
    down, up = parts[DOWN], parts[UP]
    if not (down.isfinite().all() and up.isfinite().all()):
        raise Error("holds NaN or infinite values; the module was left out")
    alpha = float(parts[ALPHA]) if ALPHA in parts else float(down.shape[0])
    return LoRA(down, up, alpha)


def _best_table(names: dict[str, dict[str, Tensor]]) -> dict[str, str]:
    """The family table that knows most of the names; SD 1 and SD 2 share theirs, so the order settles ties."""
    return max((tables.paths_by_name(f) for f in tables.FAMILIES), key=lambda table: sum(n in table for n in names))
