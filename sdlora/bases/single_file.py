"""A base in one `.safetensors` or `.ckpt` file, in the layout of the original code, A1111 and ComfyUI. No network."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from sdlora.bases import original_layout as layout
from sdlora.bases.base import Base, Family, usual_vae_dtype
from sdlora.bases.checkpoint_file import read_checkpoint
from sdlora.bases.family import family_of_checkpoint
from sdlora.bases.geometry import family_config, geometry_of, shipped_tokenizers
from sdlora.bases.networks import build_text_encoder, build_unet, empty, fill
from sdlora.bases.prediction import ZERO_TERMINAL_SNR, Prediction, probe, settle, stated_in_file
from sdlora.bases.vae import vae_from_original
from sdlora.errors import Error

SD2_V_SAMPLE_SIZE = 96  # SD 2.x's v-prediction models draw at 768 px, the epsilon ones at 512


def load_single_file(
    file: Path,
    path: str,
    dtype: torch.dtype,
    vae_dtype: torch.dtype | None,
    device: torch.device | str,
    asked: Prediction | None,
) -> Base:
    """Read a whole checkpoint into a `Base` on `device`. `asked` overrides what the file says of its prediction."""
    weights, metadata = read_checkpoint(file)
    family = family_of_checkpoint(weights, path)
    config = family_config(family)
    unet = _unet(family, config["unet"], weights, dtype, path)
    base = Base(
        path=path,
        family=family,
        geometry=geometry_of(unet.config),
        prediction_type="epsilon",
        prediction_reason="not yet looked at",
        unet=unet,
        vae=_vae(config["vae"], weights, vae_dtype or usual_vae_dtype(family, dtype), path),
        text_encoders=_text_encoders(family, config["text_encoders"], weights, dtype, path),
        tokenizers=shipped_tokenizers(family),
        scheduler_config=config["scheduler"],
        weights_files=[file],
    ).to(device)
    settle(base, asked or stated_in_file(weights, metadata) or probe(base))
    if "ztsnr" in weights:
        base.scheduler_config |= ZERO_TERMINAL_SNR
    if family == "sd2" and base.prediction_type == "v_prediction":
        unet.register_to_config(sample_size=SD2_V_SAMPLE_SIZE)
    return base


def _unet(family: Family, shipped: dict[str, Any], weights: layout.Weights, dtype: torch.dtype, path: str) -> Any:
    own = layout.part(weights, layout.UNET)
    try:
        config = layout.unet_config(family, shipped, own)
        named = layout.unet_weights(config, own)
    except KeyError as error:
        raise Error(f"The UNet of {path} is not one of Stable Diffusion 1.x, 2.x or XL: {error} is missing.") from error
    if len(named) != len(own):
        raise Error(
            f"The UNet of {path} is not one of Stable Diffusion 1.x, 2.x or XL: it has {len(own)} weights, "
            f"of which {len(named)} are known."
        )
    network = empty(build_unet, config)
    fill(network, named, dtype, f"UNet of {path}")
    return network


def _vae(shipped: dict[str, Any], weights: layout.Weights, dtype: torch.dtype, path: str) -> Any:
    own = layout.part(weights, layout.VAE)
    if not own:
        raise Error(f"{path} holds no VAE; use the full checkpoint of this model.")
    return vae_from_original(shipped, own, dtype, f"VAE of {path}")


def _text_encoders(
    family: Family, shipped: list[dict[str, Any]], weights: layout.Weights, dtype: torch.dtype, path: str
) -> list[nn.Module]:
    encoders = []
    for index, family_wide in enumerate(shipped):
        try:
            named = layout.text_weights(family, index, weights)
            config = layout.text_config(family_wide, named)
        except KeyError as error:
            raise Error(f"The text encoder of {path} is incomplete: {error} is missing.") from error
        network = empty(build_text_encoder, config, index)
        fill(network, named, dtype, f"text encoder of {path}")
        encoders.append(network)
    return encoders
