"""From a config and weights to a network, without the detour of random initialisation."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from sdlora.errors import Error


def build_unet(config: Mapping[str, Any]) -> UNet2DConditionModel:
    return UNet2DConditionModel(**config)


def build_vae(config: Mapping[str, Any]) -> AutoencoderKL:
    return AutoencoderKL(**config)


def build_text_encoder(config: Mapping[str, Any], index: int) -> nn.Module:
    """SDXL's second text encoder (index 1) also gives the pooled, projected embedding."""
    return (CLIPTextModelWithProjection if index else CLIPTextModel)(CLIPTextConfig(**config))


def empty(build: Callable[..., nn.Module], *arguments: object) -> Any:
    """`build(*arguments)` with parameters that take no memory yet; buffers are real: CLIP's are in no file."""
    with init_empty_weights(include_buffers=False):
        return build(*arguments)


def fill(network: nn.Module, weights: Mapping[str, Tensor], dtype: torch.dtype, where: str) -> None:
    """Give an empty network its weights, each copied and cast. `where` names the part in messages.

    Raises `Error` when a weight is missing, unknown or of another shape: nothing may stay random in silence.
    """
    flat = not hasattr(network, "text_model")  # CLIPTextModel in transformers >= 5.6
    named = {(key.removeprefix("text_model.") if flat else key): tensor for key, tensor in weights.items()}
    wanted = {name: parameter.shape for name, parameter in network.named_parameters()}
    problem = _first_problem(wanted, {key: tensor.shape for key, tensor in named.items()})
    if problem:
        raise Error(f"The {where} is not a network that sdlora knows: {problem}.")
    copies = {key: tensor.to(dtype, copy=True).contiguous() for key, tensor in named.items()}
    network.load_state_dict(copies, strict=True, assign=True)


def _first_problem(wanted: Mapping[str, torch.Size], found: Mapping[str, torch.Size]) -> str:
    missing, unknown = wanted.keys() - found.keys(), found.keys() - wanted.keys()
    if missing:
        return f"{min(missing)} is missing ({len(missing)} such weights)"
    if unknown:
        return f"{min(unknown)} has no place in it ({len(unknown)} such weights)"
    for name, shape in wanted.items():
        if shape != found[name]:
            return f"{name} has the shape {tuple(found[name])} instead of {tuple(shape)}"
    return ""
