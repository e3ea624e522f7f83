"""Stage: a complete Stable Diffusion in diffusers' layout, fp16, as it is shipped."""

import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTokenizer

from recipes.mini.unet import schedule
from sdlora.files import write_atomically, write_text

NOTHING = [None, None]
PARTS = {
    "scheduler": ["diffusers", "DDPMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def package(
    unet: UNet2DConditionModel, text_encoder: CLIPTextModel, vae: AutoencoderKL, tokenizer: CLIPTokenizer, out: Path
) -> None:
    """Write `out` part by part; `StableDiffusionPipeline.from_pretrained(out, safety_checker=None)` opens it."""
    parts = {"unet": unet, "text_encoder": text_encoder, "vae": vae, "tokenizer": tokenizer, "scheduler": schedule()}
    raw = out.with_name(out.name + ".raw")
    for name, part in parts.items():
        part.save_pretrained(raw / name)
    for file in sorted(raw.glob("*/*")):
        target = out / file.relative_to(raw)
        if file.suffix == ".safetensors":
            write_half(file, target, prefix="text_model." if file.parent.name == "text_encoder" else "")
        else:
            write_config(file, target)
    write_text(out / "model_index.json", json.dumps(model_index(), indent=2) + "\n")
    shutil.rmtree(raw)


def write_half(file: Path, target: Path, prefix: str) -> None:
    """fp16 copies; `prefix` is what Stable Diffusion 1.x' keys begin with and transformers since 5.6 leaves out."""
    tensors = {
        key if key.startswith(prefix) else prefix + key: tensor.half() if tensor.is_floating_point() else tensor
        for key, tensor in load_file(file).items()
    }
    contiguous = {key: tensor.contiguous() for key, tensor in tensors.items()}
    write_atomically(target, lambda path: save_file(contiguous, path, metadata={"format": "pt"}))


def write_config(file: Path, target: Path) -> None:
    config = json.loads(file.read_text(encoding="utf-8"))
    config.pop("_name_or_path", None)
    if "dtype" in config:
        config["dtype"] = str(torch.float32).removeprefix("torch.")  # else transformers alone would load in fp16
    indent = None if file.name == "tokenizer.json" else 2  # one line is half the size
    write_text(target, json.dumps(config, indent=indent, ensure_ascii=False) + "\n")


def model_index() -> dict[str, Any]:
    return {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": diffusers.__version__,
        "feature_extractor": NOTHING,
        "image_encoder": NOTHING,
        "requires_safety_checker": False,
        "safety_checker": NOTHING,
        **PARTS,
    }
