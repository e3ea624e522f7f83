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
from .families import are_bare_tokens, stated_family
from .formats.header import glance
from .formats.other_models import kind_of
from .told import LONGEST, TRIGGER, has_thumbnail, tag_counts

FAMILY_OF_WIDTH = {160: "sd1", 768: "sd1", 1024: "sd2", 2048: "sdxl"}  # of what reads the prompt; 160 is mini
MOST_TAGS = 5

# Ends of names by which adapters of every format are known.
ADAPTER = re.compile(
    r"lora_(?:down|up|A|B)\.|lora\.(?:down|up)\.|\.(?:hada|lokr|oft|bottleneck)_|\.(?:diff|w_norm|b_norm|on_input)$|\.a1\.|:down$"
    r"|string_to_param|^(?:<.+>|emb_params|clip_[lg])$",
    re.M,
)
# Parts of names, `.` written as `_`, that occur in SDXL alone.
SECOND_TEXT_ENCODER = ("\nlora_te2_", "\ntext_encoder_2_", "\ntext_encoders_clip_g_", "\nclip_g\n")
SECOND_IN_A_ROW = "_transformer_blocks_1_"  # behind a number; without one it is another model's
DEEP_TEXT_ENCODER = "_layers_12_"  # SD 2's; SD 1's has twelve layers, 0 to 11
# What reads the encoded prompt: the width of that tells the families apart. `unet:6` is cloneofsimo's number for it.
READS_PROMPT = re.compile(r"^(?:.*attn2[._](?:processor\.)?to_[kv]|unet:6)(?=[._:]).*$", re.M)
# Parts whose last or second number is the width of what a module reads.
INPUTS = re.compile(r"(?:lora_down\.weight|lora_A\.weight|lora\.down\.weight|:down|hada_w1_b|diff)$")
EMBEDDING = re.compile(r"^(?:emb_params|<.+>|.*string_to_param.*)$", re.M)


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
    except (Error, OSError) as refusal:
        return Summary(path.stem, problem=str(refusal))
    names = "\n".join(key for key in header if "\n" not in key)
    family = _family(names, header)
    problem = "" if family or ADAPTER.search(names) or _are_tokens(header) else "no adapter: none of its keys is one's"
    if family is None and (other := kind_of(header)):
        problem = f"it is {other}"
    return Summary(
        path.stem,
        family=family or stated_family(metadata),
        trigger=metadata.get(TRIGGER, "")[:LONGEST],
        tags=", ".join(list(tag_counts(metadata))[:MOST_TAGS])[:LONGEST],
        thumbnail=has_thumbnail(metadata),
        stated_hash=metadata.get("sshs_model_hash", "")[:LONGEST],
        problem=problem,
    )


def _are_tokens(header: Mapping[str, Any]) -> bool:
    """Whether it is a file of learned tokens that bear their own names, as a training of one alone writes it."""
    try:
        return are_bare_tokens({key: tuple(map(int, entry["shape"])) for key, entry in header.items()})
    except (TypeError, KeyError, ValueError, OverflowError):
        return False


def _family(names: str, header: Mapping[str, Any]) -> str | None:
    flat = f"\n{names}\n".replace(".", "_")
    if any(mark in flat for mark in SECOND_TEXT_ENCODER) or flat.partition(SECOND_IN_A_ROW)[0][-1].isdigit():
        return "sdxl"
    if DEEP_TEXT_ENCODER in flat and not kind_of(header):
        return "sd2"
    for match in READS_PROMPT.finditer(names):
        if INPUTS.search(match[0]):
            return FAMILY_OF_WIDTH.get(_width(header[match[0]], 1))
    embedding = EMBEDDING.search(names)
    return FAMILY_OF_WIDTH.get(_width(header[embedding[0]], -1)) if embedding else None


def _width(entry: Any, axis: int) -> int:
    """A number of a tensor's shape; 0 where the header makes no sense."""
    try:
        return int(entry["shape"][axis])
    except (TypeError, KeyError, IndexError, ValueError, OverflowError):
        return 0
