"""The networks of SD 1.5, SD 2.x and SDXL by their published configs, and which of them a UNet's widths belong to."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import CLIPTokenizer

from sdlora.bases.base import Family, leaf_modules
from sdlora.bases.networks import build_text_encoder, build_unet

CONFIGS = Path(__file__).resolve().parent / "configs"

# (block_out_channels, cross_attention_dim) of the UNets that have a name.
_WIDTHS = {
    ((320, 640, 1280, 1280), 768): "sd15",
    ((320, 640, 1280, 1280), 1024): "sd2",
    ((320, 640, 1280), 2048): "sdxl",
    ((64, 96, 128, 128), 160): "mini",
}


def geometry_of(unet_config: Mapping[str, Any]) -> str:
    """`sd15`, `sd2`, `sdxl` or `mini`; `custom` for any other widths."""
    return _WIDTHS.get((tuple(unet_config["block_out_channels"]), unet_config["cross_attention_dim"]), "custom")


def family_config(family: Family) -> dict[str, Any]:
    """The published configs of a family: `unet`, `vae`, `text_encoders`, `pad_tokens`, `scheduler`. A fresh copy."""
    return json.loads((CONFIGS / f"{family}.json").read_text(encoding="utf-8"))


def shipped_tokenizers(family: Family) -> list[CLIPTokenizer]:
    """CLIP's tokenizer, padded as the family's text encoders expect: SD 2.x and SDXL's second one with "!" (id 0).

    As in diffusers' own models, a "!" in a prompt then becomes that id too.
    """
    pads = family_config(family)["pad_tokens"]
    return [CLIPTokenizer.from_pretrained(CONFIGS / "tokenizer", pad_token=pad) for pad in pads]


@cache
def meta_modules(family: Family) -> dict[str, nn.Module]:
    """Module path -> leaf module of SD 1.5, SD 2 or SDXL at full size, without memory for the weights (meta device)."""
    config = family_config(family)
    with torch.device("meta"):
        encoders = [build_text_encoder(encoder, index) for index, encoder in enumerate(config["text_encoders"])]
        return leaf_modules(build_unet(config["unet"]), encoders)
