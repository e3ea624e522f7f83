"""What another kind, start or optimiser than a LoRA with AdamW needs otherwise: learning rates above all."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from .by_kind import targets_of, times_lora
from .choice import Choice
from .optimiser import kind_of as optimiser_kind
from .optimiser import suited

USUAL_RATES = {
    "learning_rate": (1e-4, "usual for LoRA with AdamW on full-size bases"),
    "text_encoder_learning_rate": (5e-5, "half of the UNet's: the text encoder overfits first"),
    "token_learning_rate": (1e-3, "usual for learned tokens: an embedding has far to go"),
}
USUAL_TARGETS = ["attention", "text_attention"]
KIND_S_RATES = ("learning_rate", "text_encoder_learning_rate")  # a learned token is the same in all kinds


def by_start(said: Mapping[str, Any]) -> Iterator[Choice]:
    """What updates that do not start at nothing need otherwise."""
    if (start := said.get("start", "usual")) != "usual":
        yield Choice("weight_decay", 0.0, f"{start} starts at a part of the base's own weights, which is not to shrink")


def by_optimiser(values: dict[str, Any], preset: list[Choice]) -> Iterator[Choice]:
    """What another optimiser than AdamW needs otherwise. It goes before a preset that was written for another one."""
    given = {choice.key: choice.value for choice in preset}
    before = given.get("optimiser", "adamw")
    name = values.get("optimiser", before)
    for key, value, reason in suited(name):
        if name != before or key not in given:
            yield Choice(key, value, reason)


def by_kind(kind: str, preset: list[Choice]) -> Iterator[Choice]:
    """Which targets another kind than LoRA needs. It goes before a preset that was written for another one."""
    given = {choice.key: choice.value for choice in preset}
    if kind != given.get("kind", "lora") or "targets" not in given:
        for key, value, reason in targets_of(kind, given.get("targets", USUAL_TARGETS)):
            yield Choice(key, value, reason)


def rates(values: Mapping[str, Any], preset: list[Choice]) -> Iterator[Choice]:
    """The learning rates of this kind and optimiser, where they are others than those that the preset has for its own,
    or, where it has none, than a LoRA's with AdamW."""
    given = {choice.key: choice.value for choice in preset}
    name, kind = {"optimiser": "adamw", **given, **values}["optimiser"], kind_of(values, preset)
    slower = optimiser_kind(name).slower
    if slower is None:
        yield from _found_by_itself(name, values, given if name == given.get("optimiser") else {})
        return
    before = optimiser_kind(given.get("optimiser", "adamw")).slower  # None: then the preset's are no rates
    for key, (usual, _) in USUAL_RATES.items():
        times, times_before = (_times(key, one) for one in (kind, given.get("kind", "lora")))
        written = given.get(key, usual)
        lora_s = written * before / times_before if before and key in given else usual  # with AdamW
        rate = times * lora_s / slower
        if not math.isclose(rate, written):
            yield Choice(key, rate, _reason(name, slower, rate * slower, kind, times))


def _times(key: str, kind: str) -> float:
    """What a LoRA's rate is multiplied by."""
    return times_lora(kind) if key in KIND_S_RATES else 1.0


def _found_by_itself(name: str, values: Mapping[str, Any], preset: Mapping[str, Any]) -> Iterator[Choice]:
    """The one factor, for all that the preset, if it is for the same optimiser, does not say."""
    one = values.get("learning_rate", preset.get("learning_rate", 1.0))
    for key in USUAL_RATES:
        if key not in preset or ("learning_rate" in values and preset[key]):  # 0 leaves something untrained
            yield Choice(key, one, f"{name} finds the learning rate itself, this is a factor (arXiv:2306.06101)")


def _reason(name: str, slower: float, adamw_s: float, kind: str, times: float) -> str:
    if slower != 1:
        return f"AdamW's {adamw_s:g} ÷ {slower:g}: each step of {name} is a whole one (arXiv:2302.06675)"
    return f"{times:g} × a LoRA's, which suits kind = {kind}" if times != 1 else f"a {kind}'s with {name}"


def kind_of(values: Mapping[str, Any], preset: list[Choice]) -> str:
    """What is trained: as the user says, else as the preset does, else a lora."""
    return str(({choice.key: choice.value for choice in preset} | dict(values)).get("kind", "lora"))
