"""Adapter files at the edge: one module a format, each converting its keys to an `Adapter` and back."""

from pathlib import Path

import torch

from ...errors import Error
from ..adapter import Adapter
from . import kohya, metadata
from .container import data_hash, read_container, write_container

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


def load_adapter(path: str | Path) -> Adapter:
    """Read an adapter file. Keys that are not understood are listed in `adapter.report`, the rest is loaded.

    Raises `Error` when there is no such file, it is not a safetensors file, or nothing in it is an adapter's.
    """
    path = Path(path)
    if path.suffix.lower() in (".pt", ".ckpt", ".bin"):
        raise Error(f"{path} is a pickled file, which can carry code: sdlora reads adapters from .safetensors only")
    tensors, header = read_container(path)
    if not kohya.matches(tensors):
        example = next(iter(tensors), "no keys at all")
        raise Error(f"{path} holds no adapter in a format sdlora knows (first key: {example})")
    if "sshs_model_hash" not in header:
        header["sshs_model_hash"] = data_hash(path)
    return kohya.read(path.stem, tensors, header)


def save_adapter(adapter: Adapter, path: str | Path, *, dtype: str | torch.dtype = "fp16") -> Path:
    """Write an adapter as one Kohya-format `.safetensors` file, atomically; hashes in the header are made anew.

    `dtype` is `fp16`, `bf16`, `fp32` or a torch dtype. Raises `Error` for a number that does not fit the dtype.
    """
    path = Path(path)
    target = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if target is None:
        raise Error(f"save dtype {dtype!r} is not known: use one of {', '.join(DTYPES)}")
    tensors = kohya.write(adapter, target)
    write_container(path, tensors, metadata.with_hashes(adapter.metadata, tensors))
    return path
