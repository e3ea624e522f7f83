"""The safetensors container: an 8-byte header length, a JSON header, then the tensors' bytes.

Format: https://github.com/huggingface/safetensors#format
"""

import hashlib
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from ...errors import Error
from ...files import write_atomically
from ..header import LENGTH_BYTES, read_header


def read_container(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors, copied into memory, and the header's metadata. Lengths and shapes are checked before that.

    Raises `Error` naming the file when it is missing, cut off, or no safetensors file.
    """
    if not path.is_file():
        raise Error(f"there is no adapter file {path}")
    try:
        header = read_header(path)
        # `load_file` maps the file: overwriting it would change the numbers, and Windows would not let it be replaced
        tensors = {key: tensor.clone() for key, tensor in safetensors.torch.load_file(path).items()}
    except (SafetensorError, OSError, ValueError, KeyError) as problem:
        raise Error(
            f"{path} can't be read as safetensors ({problem}): it may be cut off; download or save it again"
        ) from None
    return tensors, header.get("__metadata__") or {}


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
