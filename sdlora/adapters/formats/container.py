"""Tensors in files: read one by one once the header is checked, written atomically, and hashed."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import safetensors.torch
import torch
from torch import Tensor

from ...errors import Error
from ...files import write_atomically
from .header import LENGTH_BYTES, Entry, Header, read_header

TORCH_DTYPE = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I16": torch.int16,
    "U16": torch.uint16,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I32": torch.int32,
    "U32": torch.uint32,
    "F32": torch.float32,
    "I64": torch.int64,
    "U64": torch.uint64,
    "F64": torch.float64,
}


class Tensors(Protocol):
    """A file's tensors by key: shapes and metadata at once, numbers when asked for."""

    @property
    def entries(self) -> Mapping[str, Entry]: ...

    @property
    def metadata(self) -> Mapping[str, str]: ...

    def read(self, key: str) -> Tensor: ...


class Container:
    """A safetensors file. Raises `Error` naming the file when it is missing, cut off or makes no sense."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header: Header = read_header(path)
        self.entries = self.header.entries
        self.metadata = self.header.metadata

    def read(self, key: str) -> Tensor:
        """One tensor, in memory of its own: the file may change or be replaced afterwards."""
        entry = self.entries[key]
        content = bytearray(entry.end - entry.start)
        with self.path.open("rb") as file:
            file.seek(self.header.data_start + entry.start)
            if file.readinto(content) != len(content):
                raise Error(f"{self.path} changed while it was read: try again")
        dtype = TORCH_DTYPE[entry.dtype]
        if not content:
            return torch.empty(entry.shape, dtype=dtype)
        return torch.frombuffer(content, dtype=dtype).reshape(entry.shape)


@dataclass(frozen=True)
class InMemory:
    """Tensors that are there already, as a pickled file gives them."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]

    @property
    def entries(self) -> dict[str, Entry]:
        return {key: Entry(str(tensor.dtype), tuple(tensor.shape)) for key, tensor in self.tensors.items()}

    def read(self, key: str) -> Tensor:
        return self.tensors[key].detach().cpu().clone()


def write_container(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors and metadata atomically."""
    write_atomically(path, lambda target: safetensors.torch.save_file(tensors, target, metadata=metadata))


def tensor_bytes_hash(tensors: dict[str, Tensor]) -> str:
    """sha256 of the file's bytes after the header, which do not depend on the metadata."""
    data = safetensors.torch.save(tensors)
    start = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "little")
    return hashlib.sha256(memoryview(data)[start:]).hexdigest()


def data_hash(path: Path) -> str:
    """The same hash, of a file: sha256 of everything after its header."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(LENGTH_BYTES + int.from_bytes(file.read(LENGTH_BYTES), "little"))
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """sha256 of a whole file; its first ten digits are what is called AutoV2."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
