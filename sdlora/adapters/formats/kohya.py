"""The Kohya key format, which every tool reads and which we write.

`{prefix}_{module path with '_'}.{part}`, one `alpha` for each module; missing, it is the rank. SDXL's UNet is written
in its original (sgm) names, and both namings are read. Source: kohya-ss/sd-scripts, `networks/`; LyCORIS for the kinds.
"""

from functools import cache

import torch

from ...errors import Error
from .. import tables
from ..adapter import Adapter
from . import textual_inversion
from .placing import NOWHERE, Format, Parts, Place

PREFIXES = ("lora_unet_", "lora_te_", "lora_te1_", "lora_te2_")
OFT_PREFIXES = ("oft_unet_", "oft_te_", "oft_te1_", "oft_te2_")  # kohya's own OFT script
NUMBERS_KEPT = ("alpha", "on_input")  # no weights: they cost nothing in fp32, and 11.3 would change in fp16


def place(key: str) -> Place | None:
    """`lora_unet_mid_block_attentions_0_proj_in.lora_down.weight` → `unet.mid_block.attentions.0.proj_in`."""
    module, _, part = key.partition(".")
    if not part or not module.startswith(PREFIXES + OFT_PREFIXES):
        return None
    name = f"lora_{module.removeprefix('oft_')}" if module.startswith("oft_") else module
    return Place(module, tables.path_of_name().get(name), part, _families_by_name().get(name, NOWHERE))


FORMAT = Format("kohya", place)


@cache
def _families_by_name() -> dict[str, frozenset[str]]:
    """Kohya name → families; `lora_te_` and `lora_te1_` tell SDXL's first text encoder from the others'."""
    return {
        name: frozenset(f for f in tables.FAMILIES if name in tables.paths_by_name(f)) for name in tables.path_of_name()
    }


def write(adapter: Adapter, dtype: torch.dtype | None) -> Parts:
    """Keys and tensors of every kind, in `dtype` or as they are. Raises `Error` for a value that `dtype` can't hold."""
    names = tables.names_by_path(family_for_names(adapter))
    tensors: Parts = {}
    for path, update in sorted(adapter.updates.items()):
        if path not in names:
            raise Error(f"{path} is no module of a {adapter.family} model, so Kohya's format has no name for it")
        for part, tensor in update.tensors().items():
            tensors[f"{names[path]}.{part}"] = stored(tensor, None if part in NUMBERS_KEPT else dtype, f"{path} {part}")
    bundled = textual_inversion.bundle(adapter) if adapter.updates else textual_inversion.alone(adapter)
    return tensors | {key: stored(tensor, dtype, key) for key, tensor in bundled.items()}


def family_for_names(adapter: Adapter) -> str:
    """The adapter's family, or the first that has all its modules: where families can't be told, names are the same."""
    if adapter.family:
        return adapter.family
    having = (f for f in tables.FAMILIES if adapter.updates.keys() <= tables.names_by_path(f).keys())
    return next(having, tables.FAMILIES[0])


def stored(tensor: torch.Tensor, dtype: torch.dtype | None, name: str) -> torch.Tensor:
    """A copy as a file keeps it; whole numbers and truth values stay what they are."""
    kind = dtype if dtype and tensor.is_floating_point() else tensor.dtype
    # a copy: safetensors refuses a tensor that occurs twice
    copy = tensor.detach().to("cpu", kind, copy=True).contiguous()
    if copy.is_floating_point() and not copy.float().isfinite().all():
        raise Error(f"{name} holds values that {kind} can't: nothing was written; save as fp32 or bf16")
    return copy
