"""Which family a model belongs to, and a sentence for each model that is none of ours."""

from collections.abc import Mapping
from typing import Any

from sdlora.bases.base import Family
from sdlora.errors import Error

_OURS = "sdlora works with Stable Diffusion 1.x, 2.x and XL base models"


def family_of_unet(config: Mapping[str, Any], path: str) -> Family:
    """The family of a diffusers UNet config. Raises `Error` for inpainting, edit and refiner UNets, by name."""
    refuse_input_channels(config["in_channels"], path)
    if config.get("addition_embed_type") == "text_time":
        if config.get("projection_class_embeddings_input_dim") == 2560:  # 1280 pooled + 5 × 256; the base has 6 × 256
            raise refiner(path)
        return "sdxl"
    return "sd2" if config.get("use_linear_projection") or config["cross_attention_dim"] == 1024 else "sd1"


def refuse_input_channels(channels: int, path: str) -> None:
    """A UNet that sees more than the noisy latent (4 channels) cannot be trained on pictures and captions alone."""
    if channels == 4:
        return
    kinds = {9: "an inpainting model", 8: "an image-editing model (as InstructPix2Pix)"}
    kind = kinds.get(channels, "a model for another task")
    raise Error(f"{path} is {kind}: its UNet has {channels} input channels instead of 4; {_OURS}, so use the plain base.")


def refiner(path: str) -> Error:
    return Error(f"{path} is the SDXL refiner, which only finishes another model's pictures; use the SDXL base instead.")


def another_model(path: str, name: str) -> Error:
    return Error(f"{path} is {name}; {_OURS}.")
