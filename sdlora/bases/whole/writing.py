"""A checkpoint file written anew with some of its tensors changed, one tensor in memory at a time."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from sdlora.adapters.formats.container import Container
from sdlora.adapters.formats.header import LENGTH_BYTES

Change = Callable[[Tensor], None]  # writes new values into the stored tensor
BLOCK = 1 << 24  # bytes copied at once
HASHES = ("sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256")  # of the old bytes


def write_changed(
    source: Container, target: Path, changes: Mapping[str, list[Change]], names: Mapping[str, str]
) -> None:
    """Write `source`'s tensors to `target` in their order and dtypes, `changes` made to those under its keys.

    `names` gives new keys to some of them. The metadata stay, but for hashes of the bytes, which are others now.
    """
    entries = sorted(source.entries.items(), key=lambda item: item[1].start)
    with source.path.open("rb") as old, target.open("wb") as new:
        new.write(_header(source, names))
        for key, entry in entries:
            if key in changes:
                tensor = source.read(key)
                for change in changes[key]:
                    change(tensor)
                new.write(tensor.reshape(-1).view(torch.uint8).numpy().data)
            else:
                old.seek(source.header.data_start + entry.start)
                _copy(old, new, entry.end - entry.start)


def _header(source: Container, names: Mapping[str, str]) -> bytes:
    content: dict[str, object] = {
        names.get(key, key): {"dtype": e.dtype, "shape": e.shape, "data_offsets": [e.start, e.end]}
        for key, e in source.entries.items()
    }
    metadata = {key: text for key, text in source.metadata.items() if key not in HASHES}
    header = json.dumps({"__metadata__": metadata} | content, ensure_ascii=False, separators=(",", ":")).encode()
    header += b" " * (-len(header) % LENGTH_BYTES)  # the format aligns the tensors
    return len(header).to_bytes(LENGTH_BYTES, "little") + header


def _copy(old: BinaryIO, new: BinaryIO, size: int) -> None:
    while size:
        block = old.read(min(size, BLOCK))
        if not block:
            raise OSError("the file changed while it was read")
        new.write(block)
        size -= len(block)
