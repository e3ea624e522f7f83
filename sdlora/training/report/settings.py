"""The settings of a run for people: what was given, what was chosen and why, what is as usual."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...files import write_text
from ..config import ResolvedConfig, TrainConfig
from ..run_folder import RunFolder


@dataclass(frozen=True)
class Setting:
    """`reason` is why it was chosen; `meaning` is the schema's own description."""

    key: str
    value: str
    reason: str
    meaning: str


@dataclass(frozen=True)
class Settings:
    """Those that the user gave, those that were chosen, and the rest, which are as usual."""

    given: Sequence[Setting]
    chosen: Sequence[Setting]
    usual: Sequence[Setting]


def write_choices(run: RunFolder, choices: Sequence[Any]) -> None:
    """Keep what was chosen, each a `Choice`, and why."""
    reasons = [{"key": choice.key, "reason": choice.reason} for choice in choices]
    write_text(run.choices_file, json.dumps(reasons, ensure_ascii=False, indent=1) + "\n")


def settings_of(run: RunFolder, config: ResolvedConfig) -> Settings:
    """All settings of a run."""
    reasons = _reasons(run)
    found: dict[str, list[Setting]] = {"given": [], "chosen": [], "usual": []}
    for key, field in TrainConfig.model_fields.items():
        value = getattr(config, key)
        usual = None if field.is_required() else field.get_default(call_default_factory=True)
        kind = "chosen" if key in reasons else "usual" if value == usual else "given"
        found[kind].append(Setting(key, _shown(value), reasons.get(key, ""), field.description or ""))
    return Settings(**found)


def _reasons(run: RunFolder) -> dict[str, str]:
    try:
        return {entry["key"]: entry["reason"] for entry in json.loads(run.choices_file.read_text(encoding="utf-8"))}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_shown, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} = {_shown(one)}" for key, one in value.items()) or "none"
    return "not set" if value is None else f"{value:g}" if isinstance(value, float) else str(value) or "none"
