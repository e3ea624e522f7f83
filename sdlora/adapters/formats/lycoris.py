"""Keys of LyCORIS' wrapper, which names modules as the wrapped model does: `lycoris_{name with '_'}.{part}`.

Source: KohakuBlueleaf/LyCORIS, `lycoris/wrapper.py`. The wrapped model is a UNet or a text encoder, in diffusers' names
or the original ones, or an object that has them as parts.
"""

from .. import tables
from .placing import Format, Place, families_of

PREFIX = "lycoris_"
# How the part of a larger model may be called → the prefix in Kohya's names; a bare name can be of either network.
PARTS_OF_MODELS = {
    "unet_": ("lora_unet_",),
    "model_diffusion_model_": ("lora_unet_",),
    "text_encoder_2_": ("lora_te2_",),
    "te2_": ("lora_te2_",),
    "text_encoder_": ("lora_te_",),
    "te1_": ("lora_te_",),
    "te_": ("lora_te_",),
    "": ("lora_unet_", "lora_te_"),
}


def place(key: str) -> Place | None:
    """`lycoris_mid_block_attentions_0_proj_in.hada_w1_a` → `unet.mid_block.attentions.0.proj_in`."""
    module, _, part = key.partition(".")
    if not part or not module.startswith(PREFIX):
        return None
    path = _path(module.removeprefix(PREFIX))
    return Place(module, path, part, families_of(path))


def _path(name: str) -> str | None:
    known = tables.path_of_name()
    for start, prefixes in PARTS_OF_MODELS.items():
        for prefix in prefixes:
            if name.startswith(start) and (path := known.get(prefix + name.removeprefix(start))):
                return path
    return None


FORMAT = Format("lycoris", place)
