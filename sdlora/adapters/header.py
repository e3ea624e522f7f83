"""The header of a safetensors file, read without torch and without touching the tensors.

Format: https://github.com/huggingface/safetensors#format
"""

import json
from pathlib import Path
from typing import Any

from ..errors import Error

LENGTH_BYTES = 8
LARGEST_HEADER = 100_000_000  # bytes; the format's own limit


def read_header(path: Path) -> dict[str, Any]:
    """The JSON header alone: `{key: {"dtype", "shape", "data_offsets"}, "__metadata__": {…}}`, its types unchecked."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        if size < LENGTH_BYTES or length > min(size - LENGTH_BYTES, LARGEST_HEADER):
            raise Error(f"{path} is cut off, or no safetensors file: its header would be {length} bytes long")
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError):
            raise Error(f"{path} is not a safetensors file: its header is not JSON") from None
    if not isinstance(header, dict):
        raise Error(f"{path} is not a safetensors file: its header is not a JSON object")
    return header
