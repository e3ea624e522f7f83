"""What PEFT says of an adapter beside its tensors: ranks and alphas by module, and how a kind was set up.

It stands in `adapter_config.json` of a PEFT folder, or, for diffusers' files, in one metadata entry with each
component's settings (`{"unet.r": 8, "unet.alpha_pattern": {…}, …}`). Source: `peft/utils/other.py`, get_pattern_key.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ...errors import Error

METADATA_KEY = "lora_adapter_metadata"
LARGEST_TEXT = 2_000_000  # characters
LARGEST_ALPHA = 1e30
COMPONENTS = ("unet", "text_encoder", "text_encoder_2")
# Patterns are regular expressions. One made to run for ever would: no more than so many, no repeated groups,
# few repetitions at all.
MOST_EXPRESSIONS, MOST_QUANTIFIERS, LONGEST_EXPRESSION = 50, 2, 200
CHANGES_THE_BASE = ("pissa", "olora", "corda", "loftq")  # initialisations


@dataclass(frozen=True)
class PeftConfig:
    """The settings of one component; `settings` are as PEFT wrote them, their types unchecked."""

    settings: Mapping[str, Any] = field(default_factory=dict)

    def rank(self, module: str) -> int | None:
        """The rank that a module (`down_blocks.0…to_q`) was given, None where that is not said."""
        value = self._ranks.get(module, self.settings.get("r"))
        return value if type(value) is int and 0 < value < 2**31 else None

    def alpha(self, module: str) -> float | None:
        """The alpha that a module was given, None where that is not said. Raises `Error` when it is no number."""
        value = self._alphas.get(module, self.settings.get("lora_alpha", self.settings.get("alpha")))
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LARGEST_ALPHA:
            raise Error(f"its alpha in the settings is {str(value)[:40]}, which is no number that can be used")
        return float(value)

    @property
    def rank_stabilised(self) -> bool:
        """Whether ΔW is scaled by alpha / √rank (Kalajdzievski, 2023, arXiv:2312.03732)."""
        return self.settings.get("use_rslora") is True

    @cached_property
    def _ranks(self) -> "_Patterns":
        return _Patterns(self.settings.get("rank_pattern"))

    @cached_property
    def _alphas(self) -> "_Patterns":
        return _Patterns(self.settings.get("alpha_pattern"))

    def warnings(self, component: str) -> Iterator[str]:
        """Sentences about settings that can't be followed."""
        start = str(self.settings.get("init_lora_weights", "")).lower()
        if any(name in start for name in CHANGES_THE_BASE):
            yield (
                f"{component} was trained with the initialisation {start[:20]!r}, which changes the base: unless the "
                "adapter was converted when it was saved, it is wrong on any other base"
            )
        for patterns in (self._ranks, self._alphas):
            if patterns.refused:
                yield f"{component}: the pattern {patterns.refused[0][:60]!r} is too intricate to follow"


class _Patterns:
    """PEFT's `{pattern: value}`: a pattern is the end of a module's name, or a regular expression for it."""

    def __init__(self, patterns: Any) -> None:
        self._literal: dict[str, Any] = {}
        self._expressions: list[tuple[re.Pattern[str], Any]] = []
        self.refused: list[str] = []
        for pattern, value in patterns.items() if isinstance(patterns, dict) else ():
            plain = pattern.removeprefix("^").removesuffix("$").replace("\\.", ".")
            if re.fullmatch(r"[\w.]+", plain):
                self._literal[plain] = value
            else:
                self._add(pattern, value)

    def _add(self, pattern: str, value: Any) -> None:
        quantifiers = sum(map(pattern.count, "*+{?"))
        nested = re.search(r"\)[*+{?]", pattern)
        safe = len(pattern) <= LONGEST_EXPRESSION and quantifiers <= MOST_QUANTIFIERS and not nested
        try:
            if safe and len(self._expressions) < MOST_EXPRESSIONS:
                self._expressions.append((re.compile(rf"(.*\.)?({pattern})$"), value))
                return
        except (re.error, RecursionError, OverflowError):
            pass
        self.refused.append(pattern)

    def get(self, module: str, missing: Any) -> Any:
        """The value for a module's dotted name."""
        ends = module.split(".")
        for first in range(len(ends)):
            if (end := ".".join(ends[first:])) in self._literal:
                return self._literal[end]
        return next((value for expression, value in self._expressions if expression.match(module)), missing)


def from_metadata(metadata: Mapping[str, str]) -> dict[str, PeftConfig]:
    """Each component's settings in diffusers' metadata entry; empty when there is none that makes sense."""
    settings = parsed(metadata.get(METADATA_KEY, ""))
    found = {}
    for component in COMPONENTS:
        own = {k.removeprefix(f"{component}."): v for k, v in settings.items() if k.startswith(f"{component}.")}
        if own:
            found[component] = PeftConfig(own)
    bare = {key: value for key, value in settings.items() if "." not in key}  # a UNet saved by itself
    return found | ({"unet": PeftConfig(bare)} if bare and not found else {})


def parsed(text: str) -> dict[str, Any]:
    """A JSON object, or an empty one for anything else."""
    try:
        content = json.loads(text) if len(text) <= LARGEST_TEXT else {}
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
