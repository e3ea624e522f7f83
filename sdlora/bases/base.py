"""A base: a frozen Stable Diffusion, taken apart into the pieces that training and sampling need."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn

Family = Literal["sd1", "sd2", "sdxl"]
PredictionType = Literal["epsilon", "v_prediction"]
FAMILIES: tuple[Family, ...] = get_args(Family)
PREDICTION_TYPES: tuple[PredictionType, ...] = get_args(PredictionType)


@dataclass(eq=False)
class Base:
    """A frozen Stable Diffusion: UNet, text encoder(s), VAE, tokenizer(s), noise schedule.

    `path` is what the user called it. `text_encoders` and `tokenizers` hold one each for sd1 and sd2, two for sdxl.
    `scheduler_config` is diffusers' scheduler config with the right `prediction_type`; `prediction_reason` says
    how it was found out. `weights_files` are what `model_hash` is taken of: the checkpoint, or a folder's UNet weights.
    `folder` is the diffusers folder that it was read from, None for a file.
    `vae_path` is what the user called a VAE that was put in the place of the base's own, "" for none; `vae_files` its
    weights. `visited` is the device to which parts come from the CPU while they work, see `sampling.memory`; None while
    all of them live on one. `learned` says which words of captions stand for learned tokens, and by which ids (-1,
    -2, …) they are read while an embedding that knows these is in the encoders, see `training.learned_tokens`.
    """

    path: str
    family: Family
    geometry: str
    prediction_type: PredictionType
    prediction_reason: str
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoders: list[nn.Module]
    tokenizers: list[Any]
    scheduler_config: dict[str, Any]
    weights_files: list[Path] = field(default_factory=list)
    folder: Path | None = None
    vae_path: str = ""
    vae_files: list[Path] = field(default_factory=list)
    visited: torch.device | None = None
    learned: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for module in (self.unet, self.vae, *self.text_encoders):
            module.requires_grad_(False).eval()

    def modules(self) -> dict[str, nn.Module]:
        """Module path -> leaf module of the UNet and the text encoder(s); text paths always contain `text_model.`."""
        return leaf_modules(self.unet, self.text_encoders)

    @property
    def dtype(self) -> torch.dtype:
        """The UNet's precision; asked of a frozen weight, since trainable layers put into it are in fp32."""
        return next(p.dtype for p in self.unet.parameters() if not p.requires_grad)

    @property
    def device(self) -> torch.device:
        """Where it computes, and so where its inputs have to be."""
        return self.visited or self.unet.device

    @property
    def parts(self) -> dict[str, list[nn.Module]]:
        """The networks by the part of a picture's way that they work in: `text_encoders`, `unet`, `vae`."""
        return {"text_encoders": self.text_encoders, "unet": [self.unet], "vae": [self.vae]}

    @property
    def vae_factor(self) -> int:
        """Pixels per latent, along a side."""
        return 2 ** (len(self.vae.config["block_out_channels"]) - 1)

    @property
    def resolution(self) -> int:
        """The side, in pixels, of the pictures that this base was trained on."""
        return int(self.unet.config["sample_size"]) * self.vae_factor

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Base":
        """Move and cast in place, all of it. SDXL's VAE overflows in fp16 (black pictures), so there it is fp32."""
        if device is not None:
            self.visited = None
        # nn.Module's own `to`: diffusers' warns of parts to keep in fp32 at each cast, though these networks have none.
        for module in (self.unet, *self.text_encoders):
            nn.Module.to(module, device=device, dtype=dtype)
        nn.Module.to(self.vae, device=device, dtype=dtype and usual_vae_dtype(self.family, dtype))
        return self

    @cached_property
    def model_hash(self) -> str:
        """sha256 (64 hex digits) over the weights files, computed when first asked for; "" for a base without files."""
        return _sha256(self.weights_files)

    @property
    def short_hash(self) -> str:
        """The first ten digits of `model_hash`, as A1111 shows them beside a model's name."""
        return self.model_hash[:10]

    @property
    def vae_name(self) -> str:
        """The file, folder or hub model that the VAE is from, without its folders, as A1111 names it (`VAE: …`); "" for
        the base's own VAE."""
        return Path(self.vae_path).name

    @cached_property
    def vae_hash(self) -> str:
        """The first ten digits of the sha256 of a VAE that is not the base's own, as A1111 shows them; "" for none."""
        return _sha256(self.vae_files)[:10]


def _sha256(files: list[Path]) -> str:
    """Over all files, one after the other; "" for none."""
    if not files:
        return ""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(1 << 22):
                digest.update(chunk)
    return digest.hexdigest()


def usual_vae_dtype(family: Family, dtype: torch.dtype) -> torch.dtype:
    """What a base of `dtype` keeps its VAE in: SDXL's overflows in fp16."""
    return torch.float32 if family == "sdxl" and dtype == torch.float16 else dtype


def leaf_modules(unet: nn.Module, text_encoders: list[nn.Module]) -> dict[str, nn.Module]:
    """Module path -> module for every module without children, UNet first, each in the order of its tree."""
    found = {f"unet.{name}": module for name, module in _leaves(unet)}
    for index, encoder in enumerate(text_encoders):
        component = "text_encoder" if index == 0 else f"text_encoder_{index + 1}"
        found |= {f"{component}.{with_text_model(name)}": module for name, module in _leaves(encoder)}
    return found


def _leaves(root: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, module) for name, module in root.named_modules() if next(module.children(), None) is None]


def with_text_model(name: str) -> str:
    """transformers 5.6 flattened CLIPTextModel (no `text_model.`) and left CLIPTextModelWithProjection as it was."""
    return name if name.startswith(("text_model.", "text_projection")) else f"text_model.{name}"
