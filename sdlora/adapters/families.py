"""Which family an adapter was made for, told from names and shapes; None where they do not tell."""

import re
from collections.abc import Iterable, Mapping

from .tables import FAMILIES
from .updates import LoRA, Update

CONTEXT_WIDTH = {768: {"sd1"}, 1024: {"sd2"}, 2048: {"sdxl"}}
TEXT_WIDTH = {768: {"sd1", "sdxl"}, 1024: {"sd2"}}  # SDXL's first text encoder is SD 1's
TEXT_LAYER = re.compile(r"text_encoder\..*\.layers\.(\d+)\.")
VERSIONS = {"sd_v1": "sd1", "sd_v2": "sd2", "sdxl_": "sdxl"}
ARCHITECTURES = {"stable-diffusion-v1": "sd1", "stable-diffusion-v2": "sd2", "stable-diffusion-xl": "sdxl"}


def tell_family(
    updates: Mapping[str, Update], metadata: Mapping[str, str], possible: Iterable[str] = FAMILIES
) -> str | None:
    """`sd1`, `sd2`, `sdxl` or None. `possible` are those that the names in the file leave.

    Every module strikes out the families that it can't be of. Where several are left, or none, the header's own word
    counts.
    """
    left = set(possible)
    for path, update in updates.items():
        if isinstance(update, LoRA):
            left &= _families_with(path, update.shape)
    if len(left) == 1:
        return left.pop()
    stated = _stated_family(metadata)
    return stated if stated in left or not left else None


def _families_with(path: str, shape: tuple[int, ...]) -> set[str]:
    """The families in which there can be a module of this path and shape.

    SDXL has a second text encoder and ten transformer blocks in a row. SD 1 and SD 2 share their UNet's names; they
    differ in `proj_in` (a convolution or a linear layer), in the width of what `attn2.to_k` reads (768 or 1024) and in
    the text encoder's depth (12 or 23) and width.
    """
    every = set(FAMILIES)
    if path.startswith("text_encoder_2.") or ".transformer_blocks.1." in path:
        return {"sdxl"}
    if path.endswith((".attn2.to_k", ".attn2.to_v")):
        return CONTEXT_WIDTH.get(shape[1], every)
    if path.endswith((".proj_in", ".proj_out")) and len(shape) == 4:
        return {"sd1"}
    if layer := TEXT_LAYER.match(path):
        return {"sd2"} if int(layer[1]) >= 12 else TEXT_WIDTH.get(min(shape[:2]), every)
    return every


def _stated_family(metadata: Mapping[str, str]) -> str | None:
    stated = metadata.get("ss_base_model_version", "")
    architecture = metadata.get("modelspec.architecture", "")
    for prefix, family in (VERSIONS | ARCHITECTURES).items():
        if stated.startswith(prefix) or architecture.startswith(prefix):
            return family
    return "sd2" if metadata.get("ss_v2") == "True" else None
