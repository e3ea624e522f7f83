"""Which modules an adapter changes."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from torch import nn

from ..errors import Error
from .config_values import TARGETS

_ADAPTABLE = (nn.Linear, nn.Conv2d)
# The projections into and out of a transformer count with its feed-forward layers: `attention` and `feed_forward`
# together are everything in the UNet's transformers, the 192 modules of a full SD 1.5 file.
_PATTERNS = {
    "attention": r"unet\..*\.attn[12]\.(to_q|to_k|to_v|to_out\.0)",
    "feed_forward": r"unet\..*\.(ff\.net\.0\.proj|ff\.net\.2)|unet\..*\.attentions\.\d+\.proj_(in|out)",
    "convolutions": r"unet\..*\.(resnets\.\d+\.conv(1|2|_shortcut)|(down|up)samplers\.0\.conv)",
    "text_attention": r"text_encoder(_2)?\..*\.self_attn\.(q|k|v|out)_proj",
    "text_mlp": r"text_encoder(_2)?\..*\.mlp\.fc[12]",
}
# Parts of the UNet's transformers, by what they were found to carry. SD 1.x and 2.x: the coarse levels decide what is
# in a picture, the fine ones of the way up how it looks (P+, arXiv:2303.09522; benchmarks/blocks.py measures it). SDXL:
# the first two transformers of the way up (B-LoRA, arXiv:2403.14572; InstantStyle, arXiv:2404.02733, has the second).
_SD_BLOCKS = {
    "style": r"unet\.up_blocks\.[23]\.attentions\..*",
    "content": r"unet\.(down_blocks\.2|mid_block|up_blocks\.1)\.attentions\..*",
}
_SDXL_BLOCKS = {
    "style": r"unet\.up_blocks\.0\.attentions\.1\..*",
    "content": r"unet\.up_blocks\.0\.attentions\.0\..*",
}
_LAST = (".to_out.0", ".ff.net.2", ".self_attn.out_proj", ".mlp.fc2")  # of a block, before its residual is added
_ONLY_IN_SDXL = "unet.add_embedding.linear_1"
assert (*_PATTERNS, *_SD_BLOCKS, "tokens") == TARGETS


def select(modules: Mapping[str, nn.Module], targets: Sequence[str]) -> list[str]:
    """Module paths of all linear and convolution layers that a target names, in the order of `modules`.

    Raises `Error` for a target that is neither a known word nor the beginning of any module's path.
    """
    named = [target for target in targets if target != "tokens"]  # those are no modules: see `learned_tokens`
    if targets and not named:
        return []
    patterns = _PATTERNS | (_SDXL_BLOCKS if _ONLY_IN_SDXL in modules else _SD_BLOCKS)
    adaptable = [path for path, module in modules.items() if isinstance(module, _ADAPTABLE)]
    chosen: set[str] = set()
    for target in named:
        found = {path for path in adaptable if _names(target, path, patterns)}
        if not found:
            near = get_close_matches(target, TARGETS, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"use {', '.join(TARGETS)} or the start of a module path."
            raise Error(f"The target {target!r} matches no linear or convolution layer of this base: {hint}")
        chosen |= found
    if not chosen:
        raise Error(f"targets is empty: name at least one of {', '.join(TARGETS)}")
    return [path for path in adaptable if path in chosen]


def layers_of(modules: Mapping[str, nn.Module], kind: str, targets: Sequence[str]) -> list[str]:
    """The module paths of the layers that a kind of adapter has for these targets: those that `select` finds, but for
    bottlenecks, which stand where a block's outputs go back to the rest, behind the last layer of each.

    Raises `Error` as `select` does, and where there is no such layer.
    """
    paths = select(modules, targets)
    if kind != "bottleneck":
        return paths
    last = [path for path in paths if path.endswith(_LAST)]
    if paths and not last:
        raise Error(f"kind = bottleneck goes behind attention and feed-forward blocks: {', '.join(targets)} has none")
    return last


def text_encoder_trains(modules: Mapping[str, nn.Module], targets: Sequence[str]) -> bool:
    """Whether captions have to be encoded anew at each step."""
    return "tokens" in targets or any(path.startswith("text_encoder") for path in select(modules, targets))


def _names(target: str, path: str, patterns: Mapping[str, str]) -> bool:
    if target in patterns:
        return re.fullmatch(patterns[target], path) is not None
    return path == target or path.startswith(f"{target.rstrip('.')}.")
