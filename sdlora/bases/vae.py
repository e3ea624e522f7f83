"""VAEs: in the original layout, inside or outside a checkpoint, and one put in another's place."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import AutoencoderKL

from sdlora.bases import original_layout as layout
from sdlora.bases.base import Base
from sdlora.bases.checkpoint_file import CHECKPOINT_SUFFIXES, read_checkpoint
from sdlora.bases.folder import load_component, read_json, variant_of, weights_files
from sdlora.bases.hub import HUB_ID, download_vae
from sdlora.bases.networks import build_vae, empty, fill
from sdlora.errors import Error

VAE_SUFFIXES = (*CHECKPOINT_SUFFIXES, ".pt")  # A1111's users named theirs `.vae.pt`
PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")


class Latents(NamedTuple):
    """What a VAE makes: channels, pixels per latent along a side, and what they are multiplied by for the UNet."""

    channels: int
    factor: int
    scale: float


def swap_vae(base: Base, path: str | Path) -> None:
    """Give a base another VAE, in the precision of its own and on its device, and record that in the base.

    `path` is a diffusers folder or hub id, of a VAE or of a model that has one, or a `.safetensors`, `.ckpt` or `.pt`
    file in the original layout, a VAE's or a whole checkpoint. Latents are scaled as the base's UNet was trained:
    files don't say it, nor do old folders. Raises `Error` for what is no VAE or makes other latents.
    """
    location = locate_vae(path)
    load = _from_file if location.is_file() else _from_folder
    vae = load(location, base, str(path))
    vae.register_to_config(scaling_factor=base.vae.config["scaling_factor"])
    base.vae_path = str(path)
    base.vae_files = [location] if location.is_file() else weights_files(location, variant_of(location, str(path)))
    vars(base).pop("vae_hash", None)  # of the one before, kept since it was asked for
    base.vae = vae.requires_grad_(False).eval().to(base.vae.device)


def locate_vae(path: str | Path) -> Path:
    """The file or the folder with a config.json that holds a VAE; a hub id is fetched. Raises `Error`."""
    location = Path(path).expanduser()
    if location.is_file():
        if location.suffix.lower() not in VAE_SUFFIXES:
            raise Error(f"{path} is not a VAE that sdlora reads: its name should end in {' or '.join(VAE_SUFFIXES)}.")
        return location
    if not location.is_dir():
        if location.suffix.lower() in VAE_SUFFIXES or not HUB_ID.fullmatch(str(path)):
            raise Error(
                f"There is no VAE at {path}; give a .safetensors or .ckpt file, a diffusers VAE's folder, or a hub id "
                "such as stabilityai/sd-vae-ft-mse."
            )
        location = download_vae(str(path))
    for folder in (location / "vae", location):
        if (folder / "config.json").is_file():
            return folder
    raise Error(f"{path} is a folder without config.json, so no diffusers VAE; give the folder that one lies in.")


def vae_from_original(
    shipped: Mapping[str, Any], weights: layout.Weights, dtype: torch.dtype, where: str
) -> AutoencoderKL:
    """The network of weights in the original layout, without a prefix; `shipped` is the config of a VAE of that kind.

    `where` names it in messages. Raises `Error` for weights that are not all there.
    """
    try:
        config = layout.vae_config(shipped, weights)
    except KeyError as error:
        raise Error(f"The {where} is incomplete: {error} is missing.") from error
    network = empty(build_vae, config)
    fill(network, layout.vae_weights(config, weights), dtype, where)
    return network


def _from_file(file: Path, base: Base, name: str) -> AutoencoderKL:
    weights, _ = read_checkpoint(file)
    # training's files hold a discriminator too
    own = {k: t for k, t in (layout.part(weights, layout.VAE) or weights).items() if k.startswith(PARTS)}
    entry = own.get("decoder.conv_in.weight")
    if entry is None or "encoder.conv_in.weight" not in own:
        raise Error(f"{name} holds no VAE.")
    if any(key.startswith("encoder.down_blocks.") for key in own):
        raise Error(f"{name} is a part of a diffusers model; give the folder it lies in, the one with config.json.")
    scale = base.vae.config["scaling_factor"]
    _refuse_other(Latents(entry.shape[1], 2 ** (layout.count_layers(own, "encoder.down.") - 1), scale), base, name)
    return vae_from_original(_public(base.vae.config), own, base.vae.dtype, f"VAE {name}")


def _from_folder(folder: Path, base: Base, name: str) -> AutoencoderKL:
    config = read_json(folder / "config.json", name)
    kind = config.get("_class_name")
    if kind != "AutoencoderKL":
        raise Error(f"{name} holds diffusers' {kind}; Stable Diffusion's VAE is an AutoencoderKL.")
    config = dict(base.vae.config) | config  # what old configs leave out
    factor = 2 ** (len(config["block_out_channels"]) - 1)
    _refuse_other(Latents(config["latent_channels"], factor, config["scaling_factor"]), base, name)
    return load_component(AutoencoderKL, folder, f"VAE {name}", base.vae.dtype)


def _refuse_other(found: Latents, base: Base, name: str) -> None:
    config = base.vae.config
    wanted = Latents(config["latent_channels"], base.vae_factor, config["scaling_factor"])
    wrong = ""
    if found.channels != wanted.channels:
        wrong = f"its latents have {found.channels} channels, the base's {wanted.channels}"
    elif found.factor != wanted.factor:
        wrong = f"a latent of its stands for {found.factor} pixels along a side, one of the base's for {wanted.factor}"
    elif not math.isclose(found.scale, wanted.scale, rel_tol=1e-3):
        wrong = f"its latents are scaled by {found.scale:g}, the base's by {wanted.scale:g}"
    if wrong:
        raise Error(f"The VAE {name} does not fit the base {base.path}: {wrong}; use one made for {base.family} bases.")


def _public(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if not key.startswith("_")}
