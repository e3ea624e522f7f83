"""Which family an adapter was made for, told from names and shapes; None where they do not tell."""

from collections.abc import Mapping

from .updates import LoRA, Update

CONTEXT_WIDTH = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
VERSIONS = {"sd_v1": "sd1", "sd_v2": "sd2", "sdxl_": "sdxl"}
ARCHITECTURES = {"stable-diffusion-v1": "sd1", "stable-diffusion-v2": "sd2", "stable-diffusion-xl": "sdxl"}


def tell_family(updates: Mapping[str, Update], metadata: Mapping[str, str]) -> str | None:
    """`sd1`, `sd2`, `sdxl` or None.

    SDXL has a second text encoder and ten transformer blocks in a row. SD 1 and SD 2 share their UNet's names; they
    differ in `proj_in` (a convolution or a linear layer), in the width of what `attn2.to_k` reads (768 or 1024) and in
    the text encoder's depth (12 or 23) and width. Then the header's own word counts.
    """
    shapes = {path: update.shape for path, update in updates.items() if isinstance(update, LoRA)}
    if any(path.startswith("text_encoder_2.") or ".transformer_blocks.1." in path for path in shapes):
        return "sdxl"
    for path, shape in shapes.items():
        if path.endswith((".attn2.to_k", ".attn2.to_v")) and shape[1] in CONTEXT_WIDTH:
            return CONTEXT_WIDTH[shape[1]]
        if path.startswith("text_encoder.") and int(path.split("layers.")[1].split(".")[0]) >= 12:
            return "sd2"
        if path.endswith(".proj_in") and len(shape) == 4:
            return "sd1"
    return _stated_family(metadata)


def _stated_family(metadata: Mapping[str, str]) -> str | None:
    stated = metadata.get("ss_base_model_version", "")
    architecture = metadata.get("modelspec.architecture", "")
    for prefix, family in (VERSIONS | ARCHITECTURES).items():
        if stated.startswith(prefix) or architecture.startswith(prefix):
            return family
    return None
