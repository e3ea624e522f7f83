"""Single checkpoint files, read without running anything that they may hold."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sdlora.errors import Error

CHECKPOINT_SUFFIXES = (".safetensors", ".ckpt")


class _Ignored:
    """Stands in for the Lightning class that the official SD 1.x `.ckpt` files name; it can do nothing."""


_HARMLESS: list[Any] = [(_Ignored, "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint")]


def read_checkpoint(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a `.safetensors` or `.ckpt` file by key, and its metadata ({} for a `.ckpt`).

    The tensors are views of the mapped file: copy what is kept. safetensors checks the header's length, the shapes and
    the offsets against the file's size before anything is read; a `.ckpt` is unpickled as weights only. Raises `Error`.
    """
    return _read_safetensors(file) if file.suffix.lower() == ".safetensors" else (_read_ckpt(file), {})


def _read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(file, framework="pt") as opened:
            return {key: opened.get_tensor(key) for key in opened.keys()}, opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise Error(f"{file} is not a whole .safetensors file ({error}); download or copy it again.") from error


def _read_ckpt(file: Path) -> dict[str, Tensor]:
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except pickle.UnpicklingError as error:
        raise Error(
            f"{file} holds more than weights, and running what is in it could harm your computer; "
            "use a .safetensors version of this model."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise Error(f"{file} is not a whole .ckpt file ({error}); download or copy it again.") from error
    while isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise Error(f"{file} holds no weights by name, so it is not a Stable Diffusion checkpoint.")
    return {key: value for key, value in content.items() if isinstance(value, Tensor)}
