"""Full-target files of every family under every naming that occurs: all modules are found, at the right place."""

import re

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sdlora.adapters import load_adapter
from sdlora.bases.base import FAMILIES
from sdlora.bases.geometry import meta_modules
from tests.bases.written import unet_key

COUNTS = {"sd1": (192, 72), "sd2": (192, 138), "sdxl": (722, 264)}
GEOMETRY = {"sd1": "sd15", "sd2": "sd2", "sdxl": "sdxl"}
KOHYA_TEXT = {
    "sd1": {"text_encoder": "lora_te"},
    "sd2": {"text_encoder": "lora_te"},
    "sdxl": {"text_encoder": "lora_te1", "text_encoder_2": "lora_te2"},
}
COMFY_TEXT = {
    "sd1": {"text_encoder": "clip_l"},
    "sd2": {"text_encoder": "clip_h"},
    "sdxl": {"text_encoder": "clip_l", "text_encoder_2": "clip_g"},
}
OLD_TEXT = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out"}


def full_targets(family):
    """Module path → weight shape of what kohya's scripts adapt when nobody chooses."""
    modules = {path: m for path, m in meta_modules(family).items() if isinstance(m, nn.Linear | nn.Conv2d)}
    return {
        path: tuple(module.weight.shape)
        for path, module in modules.items()
        if (".attentions." if path.startswith("unet.") else ".layers.") in path
    }


def kohya(family, component, name):
    prefix = "lora_unet" if component == "unet" else KOHYA_TEXT[family][component]
    return f"{prefix}_{name.replace('.', '_')}", ("lora_down.weight", "lora_up.weight")


def kohya_sgm(family, component, name):
    """The original layout's names for the UNet; text encoders as a transformers without `text_model` names them."""
    if component == "unet":
        return kohya(family, component, sgm(family, name))
    return kohya(family, component, name.removeprefix("text_model."))


def sgm(family, name):
    keys = {f"{path.removeprefix('unet.')}.weight" for path in full_targets(family)}
    return unet_key(f"{name}.weight", keys).removesuffix(".weight")


def diffusers_new(_family, component, name):
    return f"{component}.{name}", ("lora_A.weight", "lora_B.weight")


def diffusers_old(_family, component, name):
    stem, _, last = name.rpartition(".")
    if component != "unet":
        return (
            (f"{component}.{stem}.{OLD_TEXT[last]}_lora", ("down.weight", "up.weight"))
            if last in OLD_TEXT
            else (f"{component}.{name}.lora_linear_layer", ("down.weight", "up.weight"))
        )
    if match := re.fullmatch(r"(.*attn\d)\.(to_\w+)(\.0)?", name):
        return f"unet.{match[1]}.processor.{match[2]}_lora", ("down.weight", "up.weight")
    return f"unet.{name}.lora", ("down.weight", "up.weight")


def diffusers_between(_family, component, name):
    flat = name.removeprefix("text_model.")
    return f"{component}.{flat}.{'lora' if component == 'unet' else 'lora_linear_layer'}", ("down.weight", "up.weight")


def peft_in_one_file(_family, component, name):
    return f"{component}.base_model.model.{name}", ("lora_A.default.weight", "lora_B.default.weight")


def comfy(family, component, name):
    if component == "unet":
        return f"diffusion_model.{sgm(family, name)}", ("lora_down.weight", "lora_up.weight")
    return f"text_encoders.{COMFY_TEXT[family][component]}.transformer.{name}", ("lora_down.weight", "lora_up.weight")


def lycoris_wrapper(_family, component, name):
    whole = {"unet": "", "text_encoder": "text_encoder_", "text_encoder_2": "text_encoder_2_"}[component]
    return f"lycoris_{whole}{name.replace('.', '_')}", ("lora_down.weight", "lora_up.weight")


def lycoris_wrapper_sgm(family, component, name):
    if component == "unet":
        return f"lycoris_{sgm(family, name).replace('.', '_')}", ("lora_down.weight", "lora_up.weight")
    short = component.replace("text_encoder_2", "te2").replace("text_encoder", "te1" if family == "sdxl" else "te")
    return f"lycoris_{short}_{name.replace('.', '_')}", ("lora_down.weight", "lora_up.weight")


NAMINGS = {
    kohya: "kohya",
    kohya_sgm: "kohya",
    diffusers_new: "diffusers",
    diffusers_old: "diffusers",
    diffusers_between: "diffusers",
    peft_in_one_file: "diffusers",
    comfy: "comfyui",
    lycoris_wrapper: "lycoris",
    lycoris_wrapper_sgm: "lycoris",
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("naming", NAMINGS, ids=lambda naming: naming.__name__)
def test_every_module_is_found_at_its_place(naming, family, tmp_path):
    targets = full_targets(family)
    tensors, expected = {}, {}
    for number, (path, shape) in enumerate(targets.items()):
        module, parts = naming(family, *path.split(".", 1))
        down = torch.zeros(1, *shape[1:], dtype=torch.float16)
        down.view(-1)[0] = expected[path] = number
        up = torch.zeros(shape[0], 1, *(1,) * (len(shape) - 2), dtype=torch.float16)
        tensors |= {f"{module}.{parts[0]}": down, f"{module}.{parts[1]}": up}
    save_file(tensors, tmp_path / "a.safetensors")
    read = load_adapter(tmp_path / "a.safetensors")
    counts = [sum(path.startswith(part) for path in read.updates) for part in ("unet.", "text_encoder")]
    assert tuple(counts) == COUNTS[family] and read.report.complete
    assert {path: int(update.down.view(-1)[0]) for path, update in read.updates.items()} == expected
    assert {path: update.shape for path, update in read.updates.items()} == targets
    assert (read.report.format, read.family, read.geometry) == (NAMINGS[naming], family, GEOMETRY[family])
