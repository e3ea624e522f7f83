"""Write an adapter as one file: Kohya's format, which everybody reads, or diffusers'."""

import json
from pathlib import Path

import torch

from ...errors import Error
from ...precision import PRECISIONS
from ..adapter import Adapter
from . import diffusers, kohya, metadata
from .container import write_container
from .peft_config import METADATA_KEY

FORMATS = ("kohya", "diffusers")


def save_adapter(
    adapter: Adapter, path: str | Path, format: str = "kohya", *, dtype: str | torch.dtype | None = "fp16"
) -> Path:
    """Write an adapter as one `.safetensors` file, atomically; the hashes in its metadata are made anew.

    `dtype` is `fp16`, `bf16`, `fp32`, a torch dtype, or None for every tensor's own. Raises `Error` for a number that
    does not fit the dtype, and for kinds of update that `diffusers` can't load.
    """
    path = Path(path)
    target = PRECISIONS.get(dtype) if isinstance(dtype, str) else dtype
    if target is None and dtype is not None:
        raise Error(f"save dtype {dtype!r} is not known: use one of {', '.join(PRECISIONS)}")
    if format not in FORMATS:
        raise Error(f"format {format!r} can't be written: use one of {', '.join(FORMATS)}")
    # the entry describes diffusers' keys; with it beside Kohya's, diffusers refuses the file
    kept = {key: value for key, value in adapter.metadata.items() if key != METADATA_KEY}
    if format == "kohya":
        tensors = kohya.write(adapter, target)
    else:
        tensors, settings = diffusers.write(adapter, target)
        kept[METADATA_KEY] = json.dumps(settings, sort_keys=True)
    write_container(path, tensors, metadata.with_hashes(kept, tensors))
    return path
