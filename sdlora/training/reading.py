"""The base of a training, read into as little of the computer's memory as it needs."""

import torch
from accelerate.utils import broadcast_object_list

from ..bases import Base, load_base
from ..precision import PRECISIONS, fastest_dtype
from .config import TrainConfig


def read_base(settings: TrainConfig, device: torch.device, processes: int = 1) -> Base:
    """On the CPU. UNet and text encoders are in the run's precision, where that is known before the base is: as
    `preparation.ready_base` would cast them, and half as large as in fp32. The VAE encodes in fp32. All processes read
    it in the first one's precision.

    Raises `Error` as `load_base` does.
    """
    dtype = [_dtype(settings, device)]
    if processes > 1:
        broadcast_object_list(dtype)
    return load_base(
        settings.base,
        dtype=dtype[0],
        vae_dtype=torch.float32,
        prediction_type=settings.prediction_type,
        zero_terminal_snr=settings.zero_terminal_snr,
    )


def _dtype(settings: TrainConfig, device: torch.device) -> torch.dtype:
    if settings.merged:  # into the weights as they are, which are rounded once
        return torch.float32
    if settings.precision != "auto":
        return PRECISIONS[settings.precision]
    if settings.preset.endswith(".toml"):  # which may say another
        return torch.float32
    return fastest_dtype(device)
