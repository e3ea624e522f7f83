"""The Kohya key format, which every tool reads.

`{prefix}_{module path with '_'}.{lora_down.weight | lora_up.weight | alpha}`. A missing alpha means alpha = rank; ranks
and alphas may differ from module to module. Source: kohya-ss/sd-scripts, `networks/lora.py`.
"""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

from ...errors import Error
from .. import tables
from ..adapter import Adapter, LoadReport
from ..families import tell_family
from ..updates import LoRA, Update

PREFIXES = ("lora_unet_", "lora_te_", "lora_te1_", "lora_te2_")
DOWN, UP, ALPHA = "lora_down.weight", "lora_up.weight", "alpha"
# With these beside them, `lora_down` and `lora_up` mean something else: LoRA alone would draw another picture.
OTHER_KINDS = {"dora_scale": "DoRA", "lora_mid.weight": "Tucker"}


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
    updates: dict[str, Update] = {}
    unknown, warnings = [], []
    for module, parts in groups.items():
        understood = {DOWN, UP, ALPHA} if module in paths and {DOWN, UP} <= parts.keys() else set()
        unknown += [f"{module}.{part}".removesuffix(".") for part in parts.keys() - understood]
        if not understood:
            continue
        try:
            if paths[module] in updates:
                raise Error("the file has this module twice, under two names")
            updates[paths[module]] = _update(parts)
        except Error as problem:
            warnings.append(f"{module} was left out: {problem}")
    if not updates:
        first = warnings[0] if warnings else f"the first is {next(iter(groups))}"
        raise Error(f"adapter {name!r}: none of its {len(groups)} modules could be read; {first}")
    report = LoadReport("kohya", tuple(sorted(unknown)), tuple(warnings))
    family = tell_family(updates, metadata, _possible_families(groups))
    return Adapter(name, updates, metadata=dict(metadata), family=family, report=report)


def write(adapter: Adapter, dtype: torch.dtype) -> dict[str, Tensor]:
    """Keys and tensors in `dtype`. Raises `Error` for a value that `dtype` can't hold."""
    names = tables.names_by_path(adapter.family or "sd1")
    tensors = {}
    for path, update in sorted(adapter.updates.items()):
        if not isinstance(update, LoRA):
            raise Error(f"{path}: {type(update).__name__} updates can't be written in Kohya's format yet")
        if path not in names:
            raise Error(f"{path} is no module of a {adapter.family} model, so Kohya's format has no name for it")
        parts = {DOWN: update.down, UP: update.up, ALPHA: torch.tensor(update.alpha, dtype=torch.float32)}
        for part, tensor in parts.items():
            # alphas such as 11.3 (rank-stabilised) would change in fp16: they cost nothing in fp32
            kind = torch.float32 if part == ALPHA else dtype
            # a copy: safetensors refuses a tensor that occurs twice
            stored = tensor.detach().to("cpu", kind, copy=True).contiguous()
            if not stored.isfinite().all():
                raise Error(f"{path} {part} holds values that {dtype} can't: nothing was written; save as fp32 or bf16")
            tensors[f"{names[path]}.{part}"] = stored
    return tensors


def _update(parts: dict[str, Tensor]) -> LoRA:
    for part, kind in OTHER_KINDS.items():
        if part in parts:
            raise Error(f"it is a {kind} update, which sdlora can't read yet")
    down, up = parts[DOWN], parts[UP]
    if not all(t.is_floating_point() and t.float().isfinite().all() for t in (down, up)):
        raise Error("it holds NaN or infinite values, or no floating-point numbers")
    if ALPHA not in parts:
        return LoRA(down, up, float(down.shape[0] if down.ndim else 0))
    if parts[ALPHA].numel() != 1:
        raise Error(f"its alpha is not one number but {tuple(parts[ALPHA].shape)}")
    return LoRA(down, up, float(parts[ALPHA]))


def _best_table(names: dict[str, dict[str, Tensor]]) -> dict[str, str]:
    """The family table that knows most of the names; SD 1 and SD 2 share theirs, so the order settles ties."""
    return max((tables.paths_by_name(f) for f in tables.FAMILIES), key=lambda table: sum(n in table for n in names))


def _possible_families(names: Iterable[str]) -> list[str]:
    """The families whose tables hold every name that any of them holds."""
    known = {family: {name for name in names if name in tables.paths_by_name(family)} for family in tables.FAMILIES}
    everything = set().union(*known.values())
    return [family for family, found in known.items() if found == everything]
