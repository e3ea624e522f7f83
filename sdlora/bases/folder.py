"""A base in diffusers' folder layout, on disk or on the hub: one way in for mini, SD 1.5, SD 2.x and SDXL alike."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from sdlora.bases.base import PREDICTION_TYPES, Base, usual_vae_dtype
from sdlora.bases.family import another_model, family_of_unet, refiner
from sdlora.bases.geometry import geometry_of
from sdlora.errors import Error

# What diffusers and transformers call their weights, the safe format first.
_WEIGHTS_NAMES = [
    ("diffusion_pytorch_model", "safetensors"),
    ("model", "safetensors"),
    ("diffusion_pytorch_model", "bin"),
    ("pytorch_model", "bin"),
]
_TEXT_CLASSES = {"CLIPTextModel": CLIPTextModel, "CLIPTextModelWithProjection": CLIPTextModelWithProjection}


def load_folder(folder: Path, path: str, dtype: torch.dtype, vae_dtype: torch.dtype | None = None) -> Base:
    """Read a diffusers folder into a `Base` on the CPU. `path` is the name that the user gave, for messages."""
    if not (folder / "model_index.json").is_file():
        raise Error(
            f"{folder.resolve()} is a folder without model_index.json, so no diffusers model; give mini, the folder of "
            "a diffusers model, a .safetensors or .ckpt file, or a hub id."
        )
    index = read_json(folder / "model_index.json", path)
    _refuse_other_pipelines(index, path)
    family = family_of_unet(read_json(folder / "unet" / "config.json", path), path)
    encoders = ["text_encoder", "text_encoder_2"] if family == "sdxl" else ["text_encoder"]
    for_vae = vae_dtype or usual_vae_dtype(family, dtype)
    unet = load_component(UNet2DConditionModel, folder / "unet", f"unet of {path}", dtype)
    scheduler = read_json(folder / "scheduler" / "scheduler_config.json", path)
    stated = "prediction_type" in scheduler
    if scheduler.setdefault("prediction_type", "epsilon") not in PREDICTION_TYPES:
        raise another_model(path, f"a model that predicts {scheduler['prediction_type']!r}")
    return Base(
        path=path,
        family=family,
        geometry=geometry_of(unet.config),
        prediction_type=scheduler["prediction_type"],
        prediction_reason="the folder's scheduler config" if stated else "the folder's scheduler config names no other",
        unet=unet,
        vae=load_component(AutoencoderKL, folder / "vae", f"vae of {path}", for_vae),
        text_encoders=[
            load_component(_text_class(index, name), folder / name, f"{name} of {path}", dtype) for name in encoders
        ],
        tokenizers=[_tokenizer(folder, name.replace("text_encoder", "tokenizer"), path) for name in encoders],
        scheduler_config=scheduler,
        weights_files=weights_files(folder / "unet", variant_of(folder / "unet", f"unet of {path}")),
        folder=folder,
    )


def load_component(cls: Any, folder: Path, where: str, dtype: torch.dtype) -> Any:
    """One network, with every weight from the file: a missing key would leave random numbers and is an `Error`.

    `where` names it in messages: `unet of my-model`.
    """
    options = {"variant": variant_of(folder, where), "output_loading_info": True, "torch_dtype": dtype}
    try:
        with _no_progress_bars():
            model, info = cls.from_pretrained(folder, local_files_only=True, **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise Error(f"The {where} could not be read: {' '.join(str(error).split())}") from error
    missing, unexpected = info["missing_keys"], [k for k in info["unexpected_keys"] if not k.endswith("position_ids")]
    for what, keys in (("lacks", missing), ("does not know", unexpected)):
        if keys:
            raise Error(
                f"The {where} does not fit its config.json: it {what} {sorted(keys)[0]} "
                f"({len(keys)} such weights); the folder is incomplete or mixed up."
            )
    return model


def read_json(file: Path, path: str) -> dict[str, Any]:
    """A JSON file of the model; `path` is the name that the user gave."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise Error(f"{path} is not a complete diffusers model: {file} is missing.") from error
    except ValueError as error:
        raise Error(f"{file} is not readable as JSON ({error}).") from error
    if not isinstance(content, dict):
        raise Error(f"{file} should hold a JSON object.")
    return content


def _refuse_other_pipelines(index: dict[str, Any], path: str) -> None:
    name = str(index.get("_class_name", ""))
    if "unet" not in index:
        raise another_model(path, f"a {name} model" if name else "a diffusers folder without a UNet")
    if "text_encoder_2" in index and not _present(index, "text_encoder"):
        raise refiner(path)


def _present(index: dict[str, Any], name: str) -> bool:
    return bool(index.get(name) and index[name][1])


def _text_class(index: dict[str, Any], name: str) -> Any:
    return _TEXT_CLASSES.get(index[name][1], CLIPTextModel)


def _tokenizer(folder: Path, name: str, path: str) -> CLIPTokenizer:
    if not (folder / name).is_dir():
        raise Error(f"{path} is not a complete diffusers model: its folder {name} is missing.")
    return CLIPTokenizer.from_pretrained(folder / name, local_files_only=True)


def weights_files(component: Path, variant: str | None) -> list[Path]:
    """The safetensors files (or, failing these, the .bin files) of one variant, shards in order."""
    for stem, ending in _WEIGHTS_NAMES:
        name = f"{stem}.{variant}" if variant else stem
        found = sorted([*component.glob(f"{name}.{ending}"), *component.glob(f"{name}-?????-of-?????.{ending}")])
        if found:
            return found
    return []


def variant_of(component: Path, where: str) -> str | None:
    """None where the plain weights exist, else "fp16" where those do. Raises `Error` for neither."""
    for variant in (None, "fp16"):
        if weights_files(component, variant):
            return variant
    raise Error(f"{where} is not complete: {component} holds no weights (.safetensors).")


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """transformers draws a bar for each text encoder; stdout and stderr belong to our own output."""
    enabled = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            transformers_logging.enable_progress_bar()
