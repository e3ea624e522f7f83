"""Save."""

from pathlib import Path

import torch

from ...errors import Error
from ..adapter import Adapter
from . import kohya, metadata
from .container import write_container

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


def save_adapter(adapter: Adapter, path: str | Path, *, dtype: str | torch.dtype = "fp16") -> Path:
    path = Path(path)
    target = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if target is None:
        raise Error(f"save dtype {dtype!r} is not known: use one of {', '.join(DTYPES)}")
    tensors = kohya.write(adapter, target)
    write_container(path, tensors, metadata.with_hashes(adapter.metadata, tensors))
    return path
