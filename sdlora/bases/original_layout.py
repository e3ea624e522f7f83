"""The original (LDM and sgm) checkpoint layout: its family, its widths, its weights under diffusers' names.

The renaming is diffusers' own (`diffusers.loaders.single_file_utils`). The widths come from the tensors' shapes, so a
narrow network loads as the full one does. Head counts are in no shape: SD 1.x has 8 heads, the others 64 channels each.
"""

import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from torch import Tensor

from sdlora.bases.base import Family

Weights = dict[str, Tensor]

UNET = "model.diffusion_model."
VAE = "first_stage_model."
# Where each family keeps its text encoder(s): the prefix, and whether it is OpenCLIP's layout or transformers' CLIP.
TEXT_ENCODERS: dict[Family, list[tuple[str, bool]]] = {
    "sd1": [("cond_stage_model.transformer.", False)],
    "sd2": [("cond_stage_model.model.", True)],
    "sdxl": [("conditioner.embedders.0.transformer.", False), ("conditioner.embedders.1.model.", True)],
}
SD2_LAYERS = 23  # SD 2.x reads the last layer but one of OpenCLIP's 24, and diffusers leaves the last one out
HEAD_WIDTH = 64


def part(weights: Mapping[str, Tensor], prefix: str) -> Weights:
    """The weights under a prefix, without it."""
    return {key.removeprefix(prefix): tensor for key, tensor in weights.items() if key.startswith(prefix)}


def unet_config(family: Family, shipped: Mapping[str, Any], weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The family's UNet config with this checkpoint's widths and depths (`weights`: without the prefix)."""
    levels = len(shipped["block_out_channels"])
    first_blocks = [f"input_blocks.{1 + 3 * level}" for level in range(levels)]  # two layers and a downsampler a level
    widths = [weights[f"{block}.0.out_layers.3.weight"].shape[0] for block in first_blocks]
    cross = weights["middle_block.1.transformer_blocks.0.attn2.to_k.weight"].shape[1]
    config = {**shipped, "block_out_channels": widths, "cross_attention_dim": cross}
    if family != "sd1":
        config["attention_head_dim"] = [max(1, width // HEAD_WIDTH) for width in widths]
    if family == "sdxl":
        config["transformer_layers_per_block"] = [
            max(1, count_layers(weights, f"{block}.1.transformer_blocks.")) for block in first_blocks
        ]
        config["projection_class_embeddings_input_dim"] = weights["label_emb.0.0.weight"].shape[1]
    return config


def vae_config(shipped: Mapping[str, Any], weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The family's VAE config with these weights' widths (`weights`: without the prefix)."""
    levels = range(len(shipped["block_out_channels"]))
    widths = [weights[f"encoder.down.{level}.block.0.conv2.weight"].shape[0] for level in levels]
    return {
        **shipped,
        "block_out_channels": widths,
        "layers_per_block": count_layers(weights, "encoder.down.0.block."),
        "mid_block_add_attention": "encoder.mid.attn_1.q.weight" in weights,
    }


def text_config(shipped: Mapping[str, Any], weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The family's text encoder config with this checkpoint's widths (`weights`: under transformers' names)."""
    vocabulary, width = weights["text_model.embeddings.token_embedding.weight"].shape
    projection = weights.get("text_projection.weight")
    return {
        **shipped,
        "hidden_size": width,
        "vocab_size": vocabulary,
        "max_position_embeddings": weights["text_model.embeddings.position_embedding.weight"].shape[0],
        "intermediate_size": weights["text_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": count_layers(weights, "text_model.encoder.layers."),
        "num_attention_heads": max(1, width // HEAD_WIDTH),
        "projection_dim": width if projection is None else projection.shape[0],
    }


def count_layers(weights: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbers follow the prefix among the keys."""
    return len({match[1] for key in weights if (match := re.match(re.escape(prefix) + r"(\d+)\.", key))})


def unet_weights(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Weights:
    return convert_ldm_unet_checkpoint({UNET + key: tensor for key, tensor in weights.items()}, config)


def vae_weights(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Weights:
    return convert_ldm_vae_checkpoint({VAE + key: tensor for key, tensor in weights.items()}, config)


def text_weights(family: Family, index: int, weights: Mapping[str, Tensor]) -> Weights:
    """A text encoder's weights under transformers' names, always with `text_model.`."""
    prefix, open_clip = TEXT_ENCODERS[family][index]
    found = {key: tensor for key, tensor in weights.items() if key.startswith(prefix)}
    if not open_clip:
        # Some SD 1.x files leave `text_model.` out.
        return {
            f"text_model.{key.removeprefix('text_model.')}": tensor
            for key, tensor in convert_ldm_clip_checkpoint(found).items()
            if not key.endswith("position_ids")
        }
    width = found[f"{prefix}ln_final.weight"].shape[0]
    named = convert_open_clip_checkpoint(SimpleNamespace(config=SimpleNamespace(hidden_size=width)), found, prefix)
    if family == "sd2":
        named.pop("text_projection.weight", None)
        named = {key: t for key, t in named.items() if not key.startswith(f"text_model.encoder.layers.{SD2_LAYERS}.")}
    return named
