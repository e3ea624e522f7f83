"""`load_base`: a name, a folder, a file or a hub id becomes a `Base`."""

from pathlib import Path

import torch

from sdlora.bases.base import Base
from sdlora.bases.checkpoint_file import CHECKPOINT_SUFFIXES
from sdlora.bases.folder import load_folder
from sdlora.bases.hub import HUB_ID, download
from sdlora.bases.prediction import Prediction, checked, set_zero_terminal_snr, settle
from sdlora.bases.single_file import load_single_file
from sdlora.bases.vae import swap_vae
from sdlora.errors import Error
from sdlora.resources import MINI


def load_base(
    path: str | Path = "mini",
    *,
    dtype: torch.dtype = torch.float32,
    vae_dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    prediction_type: str | None = None,
    zero_terminal_snr: bool | None = None,
    revision: str | None = None,
    vae: str | Path | None = None,
) -> Base:
    """Load a frozen base: `mini`, a diffusers folder, a single `.safetensors`/`.ckpt` checkpoint, or a hub id.

    `dtype` is what the weights are cast to, however they are stored, and `vae_dtype` those of the VAE (None: as
    `base.usual_vae_dtype` has it); `prediction_type` and `zero_terminal_snr`, see `set_zero_terminal_snr`, override
    what is found out; `revision` is a hub id's branch, tag or commit; `vae` is one to put in the place of the base's
    own, see `swap_vae`.
    Raises `Error` when there is no such model or it is of another kind.
    """
    asked = None if prediction_type is None else Prediction(checked(prediction_type), "as asked for")
    name, location = str(path), locate(path, revision)
    if location.is_file():
        base = load_single_file(location, name, dtype, vae_dtype, device, asked)
    else:
        base = load_folder(location, name, dtype, vae_dtype).to(device)
        if asked:
            settle(base, asked)
    if zero_terminal_snr is not None:
        set_zero_terminal_snr(base, zero_terminal_snr)
    if vae is not None:
        swap_vae(base, vae)
    return base


def locate(path: str | Path, revision: str | None = None) -> Path:
    """The diffusers folder or checkpoint file that `load_base` reads; a hub id is fetched. Raises `Error`."""
    name = str(path)
    location = MINI if name == "mini" else Path(path).expanduser()
    if location.is_file():
        if location.suffix.lower() not in CHECKPOINT_SUFFIXES:
            endings = " or ".join(CHECKPOINT_SUFFIXES)
            raise Error(f"{name} is not a checkpoint that sdlora reads: its name should end in {endings}.")
        return location
    if not location.is_dir():
        if location.suffix.lower() in CHECKPOINT_SUFFIXES or not HUB_ID.fullmatch(name):
            raise Error(
                f"There is no model at {name}; give mini, a diffusers folder, a .safetensors or .ckpt file, "
                "or a hub id such as stable-diffusion-v1-5/stable-diffusion-v1-5."
            )
        return download(name, revision)
    return location
