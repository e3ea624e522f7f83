"""From any adapter file to one that everybody reads."""

from dataclasses import replace
from pathlib import Path

import torch

from ..adapter import Adapter
from . import metadata
from .load import PICKLED, from_folder, load_adapter
from .pickled import read_pickled
from .reading import read_adapter
from .save import save_adapter


def convert(
    source: str | Path,
    out: str | Path,
    *,
    format: str = "kohya",
    dtype: str | torch.dtype | None = None,
    private: bool = False,
) -> Adapter:
    """Write the adapter in `source` to `out` in another format and dtype (None keeps every tensor's own).

    Reads what `load_adapter` reads, and pickled files (`.pt`, `.ckpt`, `.bin`) without running code from them. The
    metadata is kept; `private` leaves out file names, tags, captions and facts about the dataset. Returns what was
    read, whose report names all that could not be taken along. Raises `Error` as `load_adapter` and `save_adapter` do.
    """
    source = Path(source)
    if source.is_dir():
        adapter = from_folder(source, pickled=True)
    elif source.suffix.lower() in PICKLED:
        tensors, name = read_pickled(source)
        adapter = read_adapter(tensors, name or source.stem, str(source))
    else:
        adapter = load_adapter(source)
    if private:
        adapter = replace(adapter, metadata=metadata.without_private(adapter.metadata))
    save_adapter(adapter, out, format, dtype=dtype)
    return adapter
