"""The update that a module's parts in a file make."""

from collections.abc import Mapping

from torch import Tensor

from ...errors import Error
from .lora import LoRA
from .parts import alpha_or, check_finite
from .update import Update


def update_from(parts: Mapping[str, Tensor]) -> tuple[Update, set[str]]:
    """The update and the names of the parts that it was made of; the other names are not understood.

    `parts` are keyed as in `Update.tensors()`. A missing alpha means alpha = rank. Raises `Error` when they make no
    kind that sdlora knows, or hold NaN, infinities, shapes that do not go together or an absurd rank.
    """
    if not {"lora_down.weight", "lora_up.weight"} <= parts.keys():
        raise Error(f"{', '.join(sorted(parts))} make no kind of update that sdlora knows")
    used = {part: parts[part] for part in ("lora_down.weight", "lora_up.weight", "alpha") if part in parts}
    check_finite(used)
    down, up = used["lora_down.weight"], used["lora_up.weight"]
    return LoRA(down, up, alpha_or(used, float(down.shape[0] if down.ndim else 0))), set(used)
