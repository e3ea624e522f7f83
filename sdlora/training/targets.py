"""Which modules an adapter changes."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from torch import nn

from ..errors import Error
from .config import TARGETS

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
assert tuple(_PATTERNS) == TARGETS


def select(modules: Mapping[str, nn.Module], targets: Sequence[str]) -> list[str]:
    """Module paths of all linear and convolution layers that a target names, in the order of `modules`.

    Raises `Error` for a target that is neither a known word nor the beginning of any module's path.
    """
    adaptable = [path for path, module in modules.items() if isinstance(module, _ADAPTABLE)]
    chosen: set[str] = set()
    for target in targets:
        found = {path for path in adaptable if _names(target, path)}
        if not found:
            near = get_close_matches(target, TARGETS, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"use {', '.join(TARGETS)} or the start of a module path."
            raise Error(f"The target {target!r} matches no linear or convolution layer of this base: {hint}")
        chosen |= found
    if not chosen:
        raise Error(f"targets is empty: name at least one of {', '.join(TARGETS)}")
    return [path for path in adaptable if path in chosen]


def _names(target: str, path: str) -> bool:
    if target in _PATTERNS:
        return re.fullmatch(_PATTERNS[target], path) is not None
    return path == target or path.startswith(f"{target.rstrip('.')}.")
