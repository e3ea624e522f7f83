"""What kinds of adapter need otherwise than a LoRA, and which settings go with which kind."""

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import Error
from .config import TrainConfig

# AdamW's learning rate of a kind as a multiple of a LoRA's: the best of three each, on clay and mini over 40 steps, at
# which a LoRA gains 5.7 %: full 5.3 %, loha 5.3 % (and with a LoRA's own it hardly learns), lokr 4.7 %
RATES = {"full": 0.1, "loha": 0.1, "lokr": 3.0}
WITH_UP = ("lora", "locon", "dora")  # kinds of a down and an up matrix


def times_lora(kind: str) -> float:
    """What a LoRA's learning rate is multiplied by."""
    return RATES.get(kind, 1.0)


def targets_of(kind: str, targets: list[str]) -> Iterator[tuple[str, Any, str]]:
    """(setting, value, reason) where a kind has other targets than a LoRA's."""
    if kind == "locon" and "convolutions" not in targets:
        yield "targets", [*targets, "convolutions"], "a locon is a lora of convolutions as well"


def refuse_unfit(kind: str, given: Mapping[str, Any]) -> None:
    """Raises `Error` for a setting that was given and that the kind has no use for."""
    for key in ("rank", "alpha", "block_ranks", "rank_stabilised"):
        if kind == "full" and given.get(key):
            raise Error(f"kind = full has no rank: leave {key} out")
    for key in ("alpha", "rank_stabilised"):
        if kind == "bottleneck" and given.get(key):
            raise Error(f"kind = bottleneck has no scale of its own: leave {key} out")
    usual = TrainConfig.model_fields["lokr_factor"].default  # a run's config.toml says even what is as usual
    if kind != "lokr" and given.get("lokr_factor", usual) != usual:
        raise Error(f"lokr_factor is for kind = lokr, not for {kind}: leave it out")
    if kind not in WITH_UP and given.get("lora_plus", 1.0) != 1:
        raise Error(
            f"lora_plus is for the kinds with an up matrix ({', '.join(WITH_UP)}), not for {kind}: leave it out"
        )
