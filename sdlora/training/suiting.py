"""What another kind, start or optimiser than a LoRA with AdamW needs otherwise: learning rates above all."""

from collections.abc import Iterator, Mapping
from typing import Any

from .by_kind import targets_of, times_lora
from .choice import Choice
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
    for key, value, reason in suited(name, values, _adamw_rates(kind_of(values, preset), preset)):
        if name != before or key not in given:
            yield Choice(key, value, reason)


def by_kind(kind: str, preset: list[Choice]) -> Iterator[Choice]:
    """What another kind than LoRA needs otherwise. It goes before a preset that was written for another one."""
    given = {choice.key: choice.value for choice in preset}
    before = given.get("kind", "lora")
    if kind != before or "targets" not in given:
        for key, value, reason in targets_of(kind, given.get("targets", USUAL_TARGETS)):
            yield Choice(key, value, reason)
    for key in KIND_S_RATES:
        times = times_lora(kind) / times_lora(before if key in given else "lora")
        if times != 1:
            reason = f"{times_lora(kind):g} × a LoRA's, which suits kind = {kind}"
            yield Choice(key, times * given.get(key, USUAL_RATES[key][0]), reason)


def kind_of(values: Mapping[str, Any], preset: list[Choice]) -> str:
    """What is trained: as the user says, else as the preset does, else a lora."""
    return str(({choice.key: choice.value for choice in preset} | dict(values)).get("kind", "lora"))


def _adamw_rates(kind: str, preset: list[Choice]) -> dict[str, float]:
    """The preset's learning rates, or the usual ones, as this kind needs them."""
    given = {choice.key: choice.value for choice in preset}
    rates = {key: rate for key, (rate, _) in USUAL_RATES.items()}
    for key in rates:
        before = "lora"
        if key in given and given.get("optimiser", "adamw") == "adamw":
            rates[key], before = given[key], given.get("kind", "lora")
        if key in KIND_S_RATES:
            rates[key] *= times_lora(kind) / times_lora(before)
    return rates
