"""The format of cloneofsimo/lora: modules by number, no names, no alphas (ΔW = up · down).

`unet:12:up`, `text_encoder:3:down`. A number counts modules as a diffusers of that time walked them (tables/). Learned
tokens lie beside them as `<s1>`. Source: cloneofsimo/lora, `lora_diffusion/lora.py`.
"""

import re
from collections.abc import Mapping

from .. import tables
from .header import Entry
from .placing import Format, Place

KEY = re.compile(r"((?:unet|text_encoder):(\d{1,4})):(up|down)")
ITS_OWN_METADATA = re.compile(r"(unet|text_encoder)(:\d+:rank)?|<.*>")
FEED_FORWARD = "ff.net.0.proj"
FAMILIES = frozenset({"sd1", "sd2"})


def format_for(entries: Mapping[str, Entry]) -> Format:
    """The format with the numbering of this file: early files leave the feed-forward layers out, which shapes tell."""
    names = tables.path_of_number()
    if not _has_feed_forward(entries):
        kept = [path for name, path in names.items() if name.startswith("unet:") and FEED_FORWARD not in path]
        names = {f"unet:{i}": path for i, path in enumerate(kept)} | {
            name: path for name, path in names.items() if name.startswith("text_encoder:")
        }

    def place(key: str) -> Place | None:
        match = KEY.fullmatch(key)
        if match is None:
            return None
        return Place(match[1], names.get(match[1]), f"lora_{match[3]}.weight", FAMILIES)

    return Format("cloneofsimo", place)


def without_its_own(metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata less what describes this format's keys: ranks and targets by number, `<s1>: <embed>`."""
    return {key: value for key, value in metadata.items() if not ITS_OWN_METADATA.fullmatch(key)}


def _has_feed_forward(entries: Mapping[str, Entry]) -> bool:
    """Whether the fifth module is the feed-forward layer, whose GEGLU gives 8 numbers for each it gets."""
    up, down = entries.get("unet:4:up"), entries.get("unet:4:down")
    if up is None or down is None or len(up.shape) != 2 or len(down.shape) != 2:
        return True
    return up.shape[0] == 8 * down.shape[1]
