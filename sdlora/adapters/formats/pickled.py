"""Adapters in pickled files, as `sdlora convert` reads them: with `torch.load(weights_only=True)`, which runs no code.

Kohya's `.pt` and diffusers' `.bin` are `{key: tensor}`; cloneofsimo's `.pt` is a list, up and down by turns; A1111's
and the original textual inversion are `{"string_to_param": {"*": vectors}, "name": …}`; cloneofsimo's `.ti.pt` and
diffusers' `learned_embeds.bin` are `{token: vectors}`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import Error
from .container import InMemory

LONGEST_VALUE = 10_000  # characters of a text that is taken over as metadata


def read_pickled(path: Path) -> tuple[InMemory, str | None]:
    """The tensors of a pickled file by key, with its plain values as metadata, and the token's name where it has one.

    Raises `Error` when there is no such file, or it holds anything but tensors and plain values.
    """
    if not path.is_file():
        raise Error(f"there is no adapter file {path}")
    try:
        # the original textual inversion keeps its vectors in such a dictionary
        with torch.serialization.safe_globals([torch.nn.ParameterDict]):
            content = torch.load(path, map_location="cpu", weights_only=True)
        return _tensors(content, path)
    except Error:
        raise
    except Exception:  # a pickle is a program for a small machine, which a broken one stops in any way
        raise Error(
            f"{path} can't be read without running code from it, or is cut off: sdlora reads pickled files of plain "
            "tensors only"
        ) from None


def _tensors(content: Any, path: Path) -> tuple[InMemory, str | None]:
    if isinstance(content, list):
        return InMemory(_numbered(content, path), {}), None
    if not isinstance(content, Mapping):
        raise Error(f"{path} holds no tensors by name")
    return _from_dictionary(content)


def _from_dictionary(content: Mapping[Any, Any]) -> tuple[InMemory, str | None]:
    inner = content.get("state_dict")
    metadata = {
        key: str(value)
        for key, value in content.items()
        if isinstance(key, str) and isinstance(value, str | int | float) and len(str(value)) <= LONGEST_VALUE
    }
    name = metadata.pop("name", None) if "string_to_param" in content else None
    tensors: dict[str, Tensor] = {}
    for key, value in (inner if isinstance(inner, Mapping) else content).items():
        if key == "string_to_param":
            named = {"emb_params" if token == "*" else str(token): vectors for token, vectors in dict(value).items()}
            tensors |= {token: vectors for token, vectors in named.items() if isinstance(vectors, Tensor)}
        elif isinstance(key, str) and isinstance(value, Tensor):
            tensors[key] = value
    return InMemory(tensors, metadata), name


def _numbered(content: list[Any], path: Path) -> dict[str, Tensor]:
    """cloneofsimo's list, keyed as its safetensors files are. A text encoder's matrices are all of one square size."""
    if len(content) % 2 or not all(isinstance(item, Tensor) and item.ndim == 2 for item in content):
        raise Error(f"{path} is a list, but not of up and down matrices by turns as cloneofsimo's lora writes it")
    sizes = {n for up, down in zip(content[::2], content[1::2], strict=True) for n in (up.shape[0], down.shape[1])}
    part = "text_encoder" if len(sizes) == 1 else "unet"
    return {f"{part}:{i // 2}:{'down' if i % 2 else 'up'}": item for i, item in enumerate(content)}
