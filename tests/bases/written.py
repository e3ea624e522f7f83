"""Writes a base as other programs do: a diffusers folder, or one checkpoint in the original (LDM, sgm) layout.

The renaming is written from the other side than diffusers' converter, which sdlora reads with: they check each other.
"""

import json
import re
from collections.abc import Container
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sdlora.bases import Base, Family
from sdlora.bases.random_base import random_base

Weights = dict[str, Tensor]

_UNET_PARTS = {
    "conv_in.": "input_blocks.0.0.",
    "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.",
    "add_embedding.linear_1.": "label_emb.0.0.",
    "add_embedding.linear_2.": "label_emb.0.2.",
    "conv_norm_out.": "out.0.",
    "conv_out.": "out.2.",
    "mid_block.resnets.0.": "middle_block.0.",
    "mid_block.attentions.0.": "middle_block.1.",
    "mid_block.resnets.1.": "middle_block.2.",
}
_RESNET_PARTS = {
    "norm1.": "in_layers.0.",
    "conv1.": "in_layers.2.",
    "norm2.": "out_layers.0.",
    "conv2.": "out_layers.3.",
    "time_emb_proj.": "emb_layers.1.",
    "conv_shortcut.": "skip_connection.",
}
_OPEN_CLIP_PARTS = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


@cache
def narrow(family: Family) -> Base:
    """A narrow random base, made once for all tests: look, don't change."""
    return random_base(family, seed=5, narrow=True)


def write_folder(base: Base, folder: Path, variant: str | None = None) -> Path:
    """A diffusers folder; `variant` goes into the weights' file names."""
    index = {"_class_name": "StableDiffusionXLPipeline" if base.family == "sdxl" else "StableDiffusionPipeline"}
    index |= {"unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}
    base.unet.save_pretrained(folder / "unet", variant=variant)
    base.vae.save_pretrained(folder / "vae", variant=variant)
    for encoder, tokenizer, ending in zip(base.text_encoders, base.tokenizers, ("", "_2"), strict=False):
        encoder.save_pretrained(folder / f"text_encoder{ending}", variant=variant)
        tokenizer.save_pretrained(folder / f"tokenizer{ending}")
        index[f"text_encoder{ending}"] = ["transformers", type(encoder).__name__]
    write_json(folder / "scheduler" / "scheduler_config.json", base.scheduler_config)
    write_json(folder / "model_index.json", index)
    return folder


def write_json(file: Path, content: dict[str, object]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")


def write_single_file(
    base: Base, file: Path, extra: Weights | None = None, metadata: dict[str, str] | None = None
) -> Path:
    """One checkpoint in the original layout, `.safetensors` or `.ckpt` by the name's end."""
    weights = {key: tensor.contiguous().clone() for key, tensor in (original_weights(base) | (extra or {})).items()}
    if file.suffix == ".ckpt":
        torch.save({"global_step": 1, "state_dict": weights}, file)
    else:
        save_file(weights, file, metadata)
    return file


def original_weights(base: Base) -> Weights:
    """Every weight of a base under its original key, and some that no network needs, as real checkpoints have them."""
    unet = base.unet.state_dict()
    found = {f"model.diffusion_model.{unet_key(key, unet)}": tensor for key, tensor in unet.items()}
    found |= {f"first_stage_model.{_vae_key(key)}": _vae_tensor(key, t) for key, t in base.vae.state_dict().items()}
    texts = [_text_weights(encoder) for encoder in base.text_encoders]
    if base.family == "sd1":
        found |= _under("cond_stage_model.transformer.", texts[0])
        found["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    elif base.family == "sd2":
        found |= _under("cond_stage_model.model.", _open_clip(texts[0]) | _last_open_clip_layer(texts[0]))
    else:
        found |= _under("conditioner.embedders.0.transformer.", texts[0])
        found |= _under("conditioner.embedders.1.model.", _open_clip(texts[1]))
    return found | {"betas": torch.zeros(1000), "model_ema.decay": torch.zeros(())}


def unet_key(key: str, keys: Container[str]) -> str:
    """A UNet key of diffusers under its original name; `keys` are all of that UNet's."""
    for new, old in _UNET_PARTS.items():
        if key.startswith(new):
            return _inside(old + key.removeprefix(new))
    side, block, kind, index, rest = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.+)", key).groups()
    if kind == "downsamplers":
        return f"input_blocks.{3 * int(block) + 3}.0.op.{rest.removeprefix('conv.')}"
    if kind == "upsamplers":
        place = 2 if f"up_blocks.{block}.attentions.0.norm.weight" in keys else 1
        return f"output_blocks.{3 * int(block) + 2}.{place}.{rest}"
    number = 3 * int(block) + int(index) + (1 if side == "down" else 0)
    return _inside(f"{'input' if side == 'down' else 'output'}_blocks.{number}.{int(kind == 'attentions')}.{rest}")


def _inside(key: str) -> str:
    match = re.fullmatch(r"((?:input_blocks|output_blocks)\.\d+\.0\.|middle_block\.[02]\.)(\w+\.)(.+)", key)
    return f"{match[1]}{_RESNET_PARTS.get(match[2], match[2])}{match[3]}" if match else key


def _vae_key(key: str) -> str:
    key = re.sub(r"down_blocks\.(\d)\.resnets\.", r"down.\1.block.", key)
    key = re.sub(r"down_blocks\.(\d)\.downsamplers\.0\.", r"down.\1.downsample.", key)
    key = re.sub(r"up_blocks\.(\d)\.resnets\.", lambda m: f"up.{3 - int(m[1])}.block.", key)
    key = re.sub(r"up_blocks\.(\d)\.upsamplers\.0\.", lambda m: f"up.{3 - int(m[1])}.upsample.", key)
    key = re.sub(r"mid_block\.resnets\.(\d)\.", lambda m: f"mid.block_{int(m[1]) + 1}.", key)
    key = key.replace("mid_block.attentions.0.", "mid.attn_1.").replace("group_norm.", "norm.")
    key = re.sub(r"attn_1\.to_([qkv])\.", r"attn_1.\1.", key).replace("to_out.0.", "proj_out.")
    return key.replace("conv_norm_out.", "norm_out.").replace("conv_shortcut.", "nin_shortcut.")


def _vae_tensor(key: str, tensor: Tensor) -> Tensor:
    """The original attention is made of 1×1 convolutions."""
    return tensor[:, :, None, None] if re.search(r"attentions\.0\.to_.*weight", key) else tensor


def _text_weights(encoder: nn.Module) -> Weights:
    bare = encoder.state_dict()
    return {key if key.startswith("text_") else f"text_model.{key}": tensor for key, tensor in bare.items()}


def _open_clip(weights: Weights) -> Weights:
    found: Weights = {"logit_scale": torch.ones(())}
    named = {
        "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
        "text_model.embeddings.position_embedding.weight": "positional_embedding",
        "text_model.final_layer_norm.weight": "ln_final.weight",
        "text_model.final_layer_norm.bias": "ln_final.bias",
    }
    for key, tensor in weights.items():
        if key in named:
            found[named[key]] = tensor
        elif key == "text_projection.weight":
            found["text_projection"] = tensor.T
        elif "self_attn.q_proj" in key:
            joined = [weights[key.replace("q_proj", f"{letter}_proj")] for letter in "qkv"]
            found[_resblock(key).replace("self_attn.q_proj.", "attn.in_proj_")] = torch.cat(joined)
        elif not re.search(r"self_attn\.[kv]_proj", key):
            found[_resblock(key)] = tensor
    return found


def _resblock(key: str) -> str:
    for new, old in _OPEN_CLIP_PARTS.items():
        key = key.replace(new, old)
    return key.replace("text_model.encoder.layers.", "transformer.resblocks.")


def _last_open_clip_layer(weights: Weights) -> Weights:
    """SD 2.x files hold OpenCLIP's 24th layer and its projection too, which the model does not use."""
    found = _open_clip(weights)
    last = {
        key.replace("resblocks.22.", "resblocks.23."): torch.full_like(t, 9.0)
        for key, t in found.items()
        if "resblocks.22." in key
    }
    return last | {"text_projection": torch.ones(64, 64)}


def _under(prefix: str, weights: Weights) -> Weights:
    return {prefix + key: tensor for key, tensor in weights.items()}
