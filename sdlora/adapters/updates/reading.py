"""The update that a module's parts in a file make."""

from collections.abc import Callable
from typing import NamedTuple, get_args

from ...errors import Error
from .bottleneck import Bottleneck
from .dora import Direction, DoRA
from .full import Full, Norm
from .glora import GLoRA
from .ia3 import IA3
from .input_oft import TERMS, InputOFT
from .loha import LoHa
from .lokr import LoKr
from .lora import LoRA
from .oft import oft_from_parts
from .parts import Parts, check_numbers
from .tucker import Tucker
from .update import Update


class Reader(NamedTuple):
    """A part that only this kind has, what other parts it may have, and what makes the update of them."""

    mark: str
    others: tuple[str, ...]
    make: Callable[[Parts], Update]


LOHA = ("hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2", "alpha")
LOKR = ("lokr_w1_b", "lokr_t1", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2", "alpha")
READERS = (
    Reader("lora_mid.weight", ("lora_down.weight", "lora_up.weight", "alpha"), Tucker.from_parts),
    Reader("lora_down.weight", ("lora_up.weight", "alpha"), LoRA.from_parts),
    Reader("hada_w1_a", LOHA, LoHa.from_parts),
    Reader("lokr_w1", LOKR, LoKr.from_parts),
    Reader("lokr_w1_a", LOKR, LoKr.from_parts),
    Reader("a1.weight", ("a2.weight", "b1.weight", "b2.weight", "bm.weight", "alpha"), GLoRA.from_parts),
    Reader("oft_blocks", ("rescale", "alpha"), oft_from_parts),
    Reader("oft_R.weight", (TERMS,), InputOFT.from_parts),
    Reader("on_input", ("weight",), IA3.from_parts),
    Reader("diff", ("diff_b",), Full.from_parts),
    Reader("w_norm", ("b_norm",), Norm.from_parts),
    Reader("bottleneck_down", ("bottleneck_down_bias", "bottleneck_up", "bottleneck_up_bias"), Bottleneck.from_parts),
)
# Of these kinds a file does not say enough.
REFUSED = {"lambda_layer": "it is a T-LoRA update, whose file leaves out the factors that it subtracts"}


def update_from(parts: Parts) -> tuple[Update, set[str]]:
    """The update and the names of the parts that it was made of; the other names are not understood.

    `parts` are keyed as in `Update.tensors()`. A missing alpha means alpha = rank. Raises `Error` when they make no
    kind that sdlora knows, or hold NaN, infinities, shapes that do not go together or an absurd rank.
    """
    reader = next((reader for reader in READERS if reader.mark in parts), None)
    if reader is None:
        for mark in REFUSED.keys() & parts.keys():
            raise Error(REFUSED[mark])
        raise Error(f"{_some(parts)} make no kind of update that sdlora knows")
    used = {name: parts[name] for name in (reader.mark, *reader.others) if name in parts}
    update = reader.make(used)
    if "dora_scale" in parts and isinstance(update, get_args(Direction)):
        used["dora_scale"] = parts["dora_scale"]
        update = DoRA(update, parts["dora_scale"])
    check_numbers(used)  # after the shapes, which cost nothing
    return update, set(used)


def _some(parts: Parts) -> str:
    names = sorted(parts)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
