"""What is tried: a question a setting, the alternatives from those that matter most to those that matter least.

The order is that of the evidence for few-image fine-tuning: the learning rate, then which layers, then the rank.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ...bases import Base
from ...errors import Error
from ..config import ResolvedConfig
from ..optimiser import kind_of
from ..targets import select

Changes = dict[str, Any]
SEARCHED = ("learning_rate", "text_encoder_learning_rate", "targets", "rank", "alpha")
UNUSED = {"full": ("rank",), "bottleneck": ("targets",)}  # kind -> what is no question for it
LENGTHS = ("steps", "validate_every", "sample_every", "checkpoint_every")


@dataclass(frozen=True)
class Question:
    """`alternatives` to settings, each as what it changes."""

    words: str
    keys: tuple[str, ...]
    alternatives: Callable[[Mapping[str, Any]], list[Changes]]


def searched(config: ResolvedConfig) -> Changes:
    """The settings that the search may change, as they are."""
    return {key: getattr(config, key) for key in (*SEARCHED, *LENGTHS)}


def questions(config: ResolvedConfig, asked: Collection[str], base: Base) -> list[Question]:
    """Those that are open: what the user has set is not asked, nor what a kind has no use for. Targets that a base has
    no layer for are left out."""
    wider = _wider_bottleneck if config.kind == "bottleneck" else _wider
    every = [
        Question("learning rate", ("learning_rate",), lambda now: [_faster(now, 0.5), _faster(now, 2.0)]),
        Question("targets", ("targets",), lambda now: [c for c in _other_targets(now) if _has(base, c["targets"])]),
        Question("rank", tuple(wider(searched(config), 2)), lambda now: [wider(now, 2), wider(now, 0.5)]),
    ]
    finds_it = ("learning_rate",) if kind_of(config.optimiser).slower is None else ()  # the optimiser itself
    settled = {*asked, *UNUSED.get(config.kind, ()), *finds_it}
    return [question for question in every if not set(question.keys) & settled]


def roomiest(config: ResolvedConfig, asked: Collection[str], base: Base) -> ResolvedConfig:
    """The config with the most of everything that is tried: where this one fits into the memory, all do. Itself, where
    nothing is searched for."""
    if config.preset != "auto":
        return config
    open_ = {key for question in questions(config, asked, base) for key in question.keys}
    changes: Changes = {}
    if "rank" in open_:
        changes |= _wider(searched(config), 2)
    if "targets" in open_:
        wider = [c["targets"] for c in _other_targets(searched(config)) if _has(base, c["targets"])]
        changes["targets"] = max([config.targets, *wider], key=lambda targets: len(select(base.modules(), targets)))
    return config.model_copy(update=changes)


def _faster(now: Mapping[str, Any], factor: float) -> Changes:
    return {key: now[key] * factor for key in ("learning_rate", "text_encoder_learning_rate")}


def _wider(now: Mapping[str, Any], factor: float) -> Changes:
    """Another rank at the same scale, alpha / rank."""
    rank = max(1, round(now["rank"] * factor))
    return {"rank": rank, "alpha": now["alpha"] * rank / now["rank"]}


def _wider_bottleneck(now: Mapping[str, Any], factor: float) -> Changes:
    """It has no scale."""
    return {"rank": _wider(now, factor)["rank"]}


def _other_targets(now: Mapping[str, Any]) -> list[Changes]:
    """With the convolutions or without, whichever it is not."""
    targets = list(now["targets"])
    other = [t for t in targets if t != "convolutions"] if "convolutions" in targets else [*targets, "convolutions"]
    return [{"targets": other}] if other else []


def _has(base: Base, targets: list[str]) -> bool:
    try:
        select(base.modules(), targets)
    except Error:
        return False
    return True
