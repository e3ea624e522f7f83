"""Opening the parts of a base folder for further training, in fp32."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from recipes.mini import unet as unet_stage
from recipes.mini import vae as vae_stage
from sdlora.errors import Error


def tokenizer(folder: Path) -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(folder / "tokenizer")


def vae(folder: Path, new: bool = False) -> AutoencoderKL:
    """The folder's VAE; without one a new one where `new` allows it."""
    if (folder / "vae").is_dir():
        return AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32)
    if not new:
        raise Error(f"There is no VAE in {folder}: run `python -m recipes.mini vae` first.")
    return vae_stage.build()


def unet_and_text_encoder(folder: Path) -> tuple[UNet2DConditionModel, CLIPTextModel]:
    """The folder's, else new ones."""
    if (folder / "unet").is_dir():
        unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)
        return unet, CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32)
    return unet_stage.build_unet(), unet_stage.build_text_encoder(tokenizer(folder))
