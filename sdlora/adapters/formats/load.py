"""Load."""

from pathlib import Path

from ...errors import Error
from ..adapter import Adapter
from . import kohya
from .container import Container, data_hash


def load_adapter(path: str | Path) -> Adapter:
    path = Path(path)
    if path.suffix.lower() in (".pt", ".ckpt", ".bin"):
        raise Error(f"{path} is a pickled file, which can carry code: sdlora reads adapters from .safetensors only")
    container = Container(path)
    tensors, header = {key: container.read(key) for key in container.entries}, dict(container.metadata)
    if not kohya.matches(tensors):
        example = next(iter(tensors), "no keys at all")
        raise Error(f"{path} holds no adapter in a format sdlora knows (first key: {example})")
    if "sshs_model_hash" not in header:
        header["sshs_model_hash"] = data_hash(path)
    return kohya.read(path.stem, tensors, header)
