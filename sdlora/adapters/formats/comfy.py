"""What ComfyUI's own nodes save: module names of the original (sgm) layout, dotted.

`diffusion_model.input_blocks.1.1.….lora_up.weight`, `text_encoders.clip_l.transformer.text_model.….lora_up.weight`.
Source: comfyanonymous/ComfyUI, `comfy_extras/nodes_lora_extract.py`, `comfy_extras/nodes_train.py`.
"""

from .. import tables
from .dotted import split
from .placing import Format, Place, families_of

UNETS = ("diffusion_model.", "model.diffusion_model.")
# The text encoder's name → our component, and the families that have it under this name.
TEXT_ENCODERS = {
    "clip_l": ("text_encoder", frozenset({"sd1", "sdxl"})),
    "clip_h": ("text_encoder", frozenset({"sd2"})),
    "clip_g": ("text_encoder_2", frozenset({"sdxl"})),
}


def place(key: str) -> Place | None:
    """`diffusion_model.middle_block.1.proj_in.lora_down.weight` → `unet.mid_block.attentions.0.proj_in`."""
    prefix = next((start for start in UNETS if key.startswith(start)), None)
    if prefix is None and not key.startswith(("text_encoders.", "clip_")):
        return None
    if (taken := split(key)) is None:
        return Place(key, None, "")
    module, part = taken
    if prefix is not None:
        path = tables.path_of_name().get("lora_unet_" + module.removeprefix(prefix).replace(".", "_"))
        return Place(module, path, part, families_of(path))
    encoder, _, inner = module.removeprefix("text_encoders.").partition(".transformer.")
    component, families = TEXT_ENCODERS.get(encoder, ("", frozenset()))
    path = f"{component}.{inner}"
    return Place(module, path if families_of(path) else None, part, families & families_of(path))


FORMAT = Format("comfyui", place)
