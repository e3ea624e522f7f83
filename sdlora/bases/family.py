"""Which family a model belongs to, and a sentence for each model that is none of ours."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from sdlora.bases.base import Family
from sdlora.errors import Error

_OURS = "sdlora works with Stable Diffusion 1.x, 2.x and XL base models"

# A piece of a key that only this kind of file has; the first that is found names it.
_OTHERS = {
    ".lora_down.": "an adapter, not a base (give it with --adapter)",
    ".lora_A.": "an adapter, not a base (give it with --adapter)",
    ".hada_w1_a": "an adapter, not a base (give it with --adapter)",
    ".lokr_w1": "an adapter, not a base (give it with --adapter)",
    "control_model.": "a ControlNet",
    "controlnet_cond_embedding.": "a ControlNet",
    "motion_modules.": "an AnimateDiff motion module",
    ".time_stack.": "Stable Video Diffusion",
    "noise_augmentor.": "Stable Diffusion 2.1 unCLIP",
    "edm_mean": "Playground v2.5",
    "edm_vpred.sigma_max": "CosXL",
    "clip_txt_mapper.": "Stable Cascade",
    "joint_blocks.": "Stable Diffusion 3",
    "single_stream_modulation.": "Flux 2",
    "distilled_guidance_layer.": "Chroma",
    "double_stream_blocks.": "HiDream",
    "double_blocks.": "Flux or another model of its kind",
    "double_layers.": "AuraFlow",
    "cap_embedder.": "Lumina or Z-Image",
    "cross_attn.kv_linear.": "Sana or PixArt",
    "head.modulation": "Wan",
}


def family_of_unet(config: Mapping[str, Any], path: str) -> Family:
    """The family of a diffusers UNet config. Raises `Error` for inpainting, edit and refiner UNets, by name."""
    refuse_input_channels(config["in_channels"], path)
    if config.get("addition_embed_type") == "text_time":
        if tuple(config["block_out_channels"]) == (384, 768, 1536, 1536):
            raise refiner(path)
        return "sdxl"
    return "sd2" if config.get("use_linear_projection") or config["cross_attention_dim"] == 1024 else "sd1"


def family_of_checkpoint(weights: Mapping[str, Tensor], path: str) -> Family:
    """The family of a checkpoint in the original layout. Raises `Error` for any other file, saying what it is."""
    first = weights.get("model.diffusion_model.input_blocks.0.0.weight")
    if first is None or any(key in name for key in ("edm_", "noise_augmentor.", ".time_stack.") for name in weights):
        raise another_model(path, _kind_of_file(weights))
    refuse_input_channels(first.shape[1], path)
    if _any_under(weights, "conditioner.embedders.0.model."):
        raise refiner(path)
    if _any_under(weights, "conditioner.embedders."):
        return "sdxl"
    if _any_under(weights, "cond_stage_model.model."):
        return "sd2"
    if _any_under(weights, "cond_stage_model.transformer."):
        return "sd1"
    raise Error(f"{path} holds a UNet but no text encoder; use the full checkpoint of this model.")


def refuse_input_channels(channels: int, path: str) -> None:
    """A UNet that sees more than the noisy latent (4 channels) cannot be trained on pictures and captions alone."""
    if channels == 4:
        return
    kinds = {9: "an inpainting model", 8: "an image-editing model (as InstructPix2Pix)", 7: "an upscaler"}
    kind = kinds.get(channels, "a model for another task")
    raise Error(f"{path} is {kind}: its UNet has {channels} input channels instead of 4; use the plain base instead.")


def refiner(path: str) -> Error:
    return Error(f"{path} is the SDXL refiner, which only finishes another model's pictures; use the SDXL base.")


def another_model(path: str, name: str) -> Error:
    return Error(f"{path} is {name}; {_OURS}.")


def _kind_of_file(keys: Iterable[str]) -> str:
    names = list(keys)
    for piece, kind in _OTHERS.items():
        if any(piece in name for name in names):
            return kind
    if any(name.startswith(("down_blocks.", "text_model.", "decoder.")) for name in names):
        return "one part of a diffusers model (give the whole folder, the one with model_index.json)"
    return "not a Stable Diffusion checkpoint that sdlora knows"


def _any_under(keys: Iterable[str], prefix: str) -> bool:
    return any(key.startswith(prefix) for key in keys)
