"""What a header alone tells of an adapter file, for lists: no tensor is read, no torch imported.

Reading a file whole looks every module up in a family's table. A list of a thousand files has a few milliseconds for
each, so a handful of names that tell the families apart is searched for in all of a header's keys at once.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import Error
from .families import stated_family
from .formats.header import glance
from .told import TRIGGER, has_thumbnail, tag_counts

FAMILY_OF_WIDTH = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
MOST_TAGS = 5

# Ends of names by which adapters of every format are known.
ADAPTER = re.compile(
    r"lora_(?:down|up|A|B)\.|lora\.(?:down|up)\.|\.(?:hada|lokr|oft)_|\.(?:diff|w_norm|b_norm|on_input)$|\.a1\.|:down$"
    r"|string_to_param|^(?:<.+>|emb_params|clip_[lg])$",
    re.M,
)
TOKEN = re.compile(r"^(?:bundle_emb\.)?([^.\n]+)(?:\.string_to_param\..*)?$", re.M)
# Names that occur in SDXL alone: a second text encoder, or a second transformer block in a row.
SDXL = re.compile(
    r"^lora_te2_|^text_encoder_2\.|^text_encoders\.clip_g\.|^clip_g$"
    r"|(?:attentions[._]\d|(?:input|output)_blocks[._]\d+[._]1|middle_block[._]1)[._]transformer_blocks[._][1-9]",
    re.M,
)
# What reads the encoded prompt: the width of that tells the families apart. `unet:6` is cloneofsimo's number for it.
READS_PROMPT = re.compile(r"^(?:.*attn2[._](?:processor\.)?to_[kv]|unet:6)(?=[._:]).*$", re.M)
# Parts whose second number is what the module reads.
INPUTS = re.compile(r"(?:lora_down\.weight|lora_A\.weight|lora\.down\.weight|:down|hada_w1_b|diff)$")
DEEP_TEXT_ENCODER = re.compile(r"^(?:lora_te_|lycoris_text_|text_encoder\.).*layers[._](?:1[2-9]|2\d)[._]", re.M)


@dataclass(frozen=True)
class Summary:
    """One file of a list. `problem` says why it is no adapter that can be read; "" when all is well.

    `family` is what names and shapes tell, else the metadata. `stated_hash` is the header's own word for the hash of
    its tensors, unverified.
    """

    name: str
    family: str | None = None
    trigger: str = ""
    tags: str = ""  # the most frequent, with commas
    thumbnail: bool = False
    stated_hash: str = ""
    problem: str = ""


def summarise(path: Path) -> Summary:
    """The summary of a file; never raises for what is wrong with it."""
    try:
        header, metadata = glance(path)
    except (Error, OSError) as problem:
        return Summary(path.stem, problem=str(problem))
    names = "\n".join(header)
    if not ADAPTER.search(names):
        return Summary(path.stem, problem="no adapter: none of its keys is one's")
    return Summary(
        path.stem,
        family=_family(names, header) or stated_family(metadata),
        trigger=metadata.get(TRIGGER, ""),
        tags=", ".join(list(tag_counts(metadata))[:MOST_TAGS]),
        thumbnail=has_thumbnail(metadata),
        stated_hash=metadata.get("sshs_model_hash", ""),
    )


def _family(names: str, header: Mapping[str, Any]) -> str | None:
    if SDXL.search(names):
        return "sdxl"
    if DEEP_TEXT_ENCODER.search(names):
        return "sd2"
    for match in READS_PROMPT.finditer(names):
        if INPUTS.search(match[0]):
            return FAMILY_OF_WIDTH.get(_second(header[match[0]]))
    return None


def _second(entry: Any) -> int:
    shape = entry.get("shape") if isinstance(entry, dict) else None
    return shape[1] if isinstance(shape, list) and len(shape) > 1 and isinstance(shape[1], int) else 0
