"""Keys whose module is a dotted path, as PyTorch names it: diffusers, PEFT, ComfyUI. Which part of which module?"""

import re
from functools import cache

from .placing import LONGEST_KEY, part_names

DOWN, UP = "lora_down.weight", "lora_up.weight"
PEFT_PARTS = ("lora_magnitude_vector", "lora_B.bias", "oft_R.weight", "ia3_l")
UNKNOWN_KINDS = ("boft_R", "boft_s", "lora_E", "lora_ranknum")  # PEFT's BOFT and AdaLoRA, to be left out by name


def split(key: str) -> tuple[str, str] | None:
    """(module, part) with the part as Kohya's files name it where they do; None where the key ends otherwise.

    `….to_q.lora_A.weight`, `….to_q.lora.down.weight`, `….processor.to_q_lora.down.weight`, `….to_q.lora_down.weight`
    and `….q_proj.lora_linear_layer.down.weight` all have the part `lora_down.weight`. PEFT may leave the adapter's own
    name in: `….lora_A.default.weight`.
    """
    match = _ending().fullmatch(key) if len(key) <= LONGEST_KEY else None
    if match is None:
        return None
    module, peft, old, magnitude, same = match.groups()
    if peft or old:
        return module, DOWN if peft == "A" or old == "down" else UP
    return module, magnitude or same


@cache
def known_parts() -> frozenset[str]:
    """The parts of every kind, with PEFT's own names."""
    return part_names() | {*PEFT_PARTS, *UNKNOWN_KINDS}


@cache
def _ending() -> re.Pattern[str]:
    # IA³'s `weight` would take every weight of a whole network for an adapter's
    same = "|".join(re.escape(part) for part in sorted(known_parts() - {"weight"}, key=len, reverse=True))
    return re.compile(
        r"(.+?)(?:"
        r"\.lora_([AB])(?:\.[^.]+)?\.weight"
        r"|(?:_lora|\.lora|\.lora_linear_layer)\.(down|up)\.weight"
        r"|\.(lora_magnitude_vector)(?:\.[^.]+)?(?:\.weight)?"
        rf"|\.({same}))"
    )
