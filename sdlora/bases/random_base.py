"""Bases with random weights: the true shapes for benchmarks, narrow ones for tests."""

from typing import Any

import torch
from torch import Tensor, nn

from sdlora.bases.base import Base, Family, usual_vae_dtype
from sdlora.bases.geometry import family_config, geometry_of, shipped_tokenizers
from sdlora.bases.networks import build_text_encoder, build_unet, build_vae, empty, fill

# Narrow, with every layer in its place: the widths grow where the full network's do, so the module paths are the same.
_NARROW: dict[Family, dict[str, Any]] = {
    "sd1": {"block_out_channels": [32, 64, 96, 96], "cross_attention_dim": 64},
    "sd2": {"block_out_channels": [64, 128, 192, 192], "cross_attention_dim": 64, "attention_head_dim": [1, 2, 3, 3]},
    "sdxl": {
        "block_out_channels": [32, 64, 128],
        "cross_attention_dim": 128,
        "attention_head_dim": [1, 1, 2],
        "projection_class_embeddings_input_dim": 6 * 256 + 64,
    },
}
_NARROW_VAE = {"block_out_channels": [32, 64, 96, 96]}
_NARROW_TEXT = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 1, "projection_dim": 64}


def random_base(family: Family, seed: int = 0, narrow: bool = False, dtype: torch.dtype = torch.float32) -> Base:
    """A base of `family` with random weights, on the CPU; `narrow` keeps its depth and module paths and makes it small.

    Nothing is left at zero or one: biases and norms differ from layer to layer too, so that a weight in the wrong place
    shows. The pictures it draws are noise.
    """
    config = family_config(family)
    if narrow:
        config["unet"] |= _NARROW[family]
        config["vae"] |= _NARROW_VAE
        config["text_encoders"] = [encoder | _NARROW_TEXT for encoder in config["text_encoders"]]
    generator = torch.Generator().manual_seed(seed)
    unet = _random(empty(build_unet, config["unet"]), generator, dtype)
    vae = _random(empty(build_vae, config["vae"]), generator, usual_vae_dtype(family, dtype))
    encoders = [
        _random(empty(build_text_encoder, encoder, index), generator, dtype)
        for index, encoder in enumerate(config["text_encoders"])
    ]
    return Base(
        path=f"random-{family}",
        family=family,
        geometry=geometry_of(unet.config),
        prediction_type="epsilon",
        prediction_reason="random weights",
        unet=unet,
        vae=vae,
        text_encoders=encoders,
        tokenizers=shipped_tokenizers(family),
        scheduler_config=config["scheduler"],
    )


def _random(network: Any, generator: torch.Generator, dtype: torch.dtype) -> Any:
    embeddings = {id(module.weight) for module in network.modules() if isinstance(module, nn.Embedding)}
    weights = {
        name: _values(name, parameter, id(parameter) in embeddings, generator, dtype)
        for name, parameter in network.named_parameters()
    }
    fill(network, weights, dtype, "random network")
    return network


def _values(name: str, like: Tensor, embedding: bool, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Uniform values: of PyTorch's own size for a matrix or kernel, near 1 for a norm's scale, near 0 for a bias."""
    values = torch.empty(like.shape, dtype=dtype)
    if embedding:
        return values.uniform_(-0.05, 0.05, generator=generator)
    if like.dim() > 1:
        bound = like[0].numel() ** -0.5
        return values.uniform_(-bound, bound, generator=generator)
    middle = 1.0 if name.endswith("weight") else 0.0
    return values.uniform_(middle - 0.1, middle + 0.1, generator=generator)
