"""`load_base`: a name, a folder or a file becomes a `Base`."""

from pathlib import Path

import torch

from sdlora.bases.base import PREDICTION_TYPES, Base
from sdlora.bases.folder import load_folder
from sdlora.errors import Error
from sdlora.resources import MINI


def load_base(
    path: str | Path = "mini",
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    prediction_type: str | None = None,
    revision: str | None = None,
) -> Base:
    """Load a frozen base: `mini`, a diffusers folder, a hub id, or a single `.safetensors`/`.ckpt` checkpoint.

    `dtype` is what the weights are cast to, however they are stored; `prediction_type` overrides what is found out;
    `revision` is a hub id's branch, tag or commit. Raises `Error` when there is no such model or it is of another kind.
    """
    if prediction_type is not None and prediction_type not in PREDICTION_TYPES:
        raise Error(f"prediction_type is {prediction_type!r}; it can be {' or '.join(PREDICTION_TYPES)}.")
    base = _read(str(path), dtype, revision)
    if prediction_type is not None:
        base.prediction_type, base.prediction_reason = prediction_type, "as asked for"  # type: ignore[assignment]
        base.scheduler_config["prediction_type"] = prediction_type
    return base.to(device=device)


def _read(path: str, dtype: torch.dtype, revision: str | None) -> Base:
    location = MINI if path == "mini" else Path(path).expanduser()
    if location.is_dir():
        return load_folder(location, path, dtype)
    raise Error(f"There is no model at {path}: give mini, a diffusers folder, a checkpoint file or a hub id.")
