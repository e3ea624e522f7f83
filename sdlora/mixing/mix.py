"""What a mix says of one adapter: its weights for the UNet, the text encoder and single blocks."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from numbers import Real
from typing import Any

from ..bases import Family
from ..errors import Error
from .blocks import block_factors
from .timeline import ALWAYS, SPAN_KEYS, Span, read_span

# A number for all of the adapter, or a table of these, each as in `Weights` and `Span`.
Given = float | Mapping[str, Any]
KEYS = ("unet", "text", "blocks", "enabled", *SPAN_KEYS)


@dataclass(frozen=True)
class Weights:
    """Weights of one adapter. `blocks` are factors on top of them by module-path prefix, the longest of which wins;
    `span` is when the UNet's is in force (the text encoder's always is: a prompt is encoded once)."""

    unet: float = 1.0
    text: float = 1.0
    blocks: Mapping[str, float] = field(default_factory=dict)
    enabled: bool = True
    span: Span = ALWAYS

    @property
    def active(self) -> bool:
        """Whether the adapter is there at all: disabled, or with weights of 0, it is as good as absent."""
        return self.enabled and bool(self.unet or self.text)

    @property
    def plain(self) -> bool:
        """Whether one number says everything."""
        return self.enabled and self.unet == self.text and not self.blocks and self.span == ALWAYS

    @property
    def loudness(self) -> float:
        """One number for both components."""
        return max(abs(self.unet), abs(self.text))

    def at(self, path: str) -> float:
        """The weight of the module `path` (`unet.mid_block…`, `text_encoder.text_model…`)."""
        if not self.enabled:
            return 0.0
        return (self.unet if path.startswith("unet.") else self.text) * self._factor(path)

    def times(self, factor: float) -> "Weights":
        """The same, louder or fainter."""
        return replace(self, unet=self.unet * factor, text=self.text * factor)

    def during(self, step: int, steps: int) -> "Weights":
        """The same as they are in a step, see `Span.factor`."""
        return replace(self, unet=self.unet * self.span.factor(step, steps), span=ALWAYS)

    def given(self) -> float | dict[str, Any]:
        """What `parse` makes this of: one number where that is enough."""
        if self.plain:
            return self.unet
        more: dict[str, Any] = {"blocks": dict(self.blocks)} if self.blocks else {}
        more |= {} if self.enabled else {"enabled": False}
        return {"unet": self.unet, "text": self.text} | more | self.span.given()

    def _factor(self, path: str) -> float:
        while path:
            if path in self.blocks:
                return self.blocks[path]
            path = path.rpartition(".")[0]
        return 1.0


def parse(name: str, given: Given, paths: Iterable[str], family: Family) -> Weights:
    """The weights that a mix gives the adapter `name`, for a base of `family` with the modules `paths`.

    `blocks` are `{prefix: factor}`, a list of A1111's block weights or the name of a preset. Raises `Error` for a key
    that there is not, a number that is none or not finite, a time that is none, and a prefix that begins no module.
    """
    if not isinstance(given, Mapping):
        weight = _finite(f"the weight of {name!r}", given)
        return Weights(weight, weight)
    for key in given:
        if key not in KEYS:
            raise Error(
                f"the mix gives {name!r} a {key!r}, which there is not: give {', '.join(KEYS)}{_near(key, KEYS)}"
            )
    enabled = given.get("enabled", True)
    if not isinstance(enabled, bool):
        raise Error(f"enabled of {name!r} is {enabled!r}: give true or false")
    unet, text = (_finite(f"the {key} weight of {name!r}", given.get(key, 1.0)) for key in ("unet", "text"))
    try:
        span = read_span({key: given[key] for key in SPAN_KEYS if key in given})
    except Error as problem:
        raise Error(f"the time of {name!r}: {problem}") from None
    return Weights(unet, text, _blocks(name, given.get("blocks", {}), paths, family), enabled, span)


def _blocks(name: str, given: Any, paths: Iterable[str], family: Family) -> dict[str, float]:
    if not given:
        return {}
    prefixes = _prefixes(paths)
    if isinstance(given, Mapping):
        for prefix in given:
            if prefix not in prefixes:
                hint = _near(str(prefix), sorted(prefixes))
                raise Error(f"blocks of {name!r} name {prefix!r}, with which no module of this base begins{hint}")
        return {prefix: _finite(f"the factor of {name!r} for {prefix}", value) for prefix, value in given.items()}
    if not isinstance(given, str | list | tuple):
        raise Error(f"blocks of {name!r} are {given!r}: give {{prefix: factor}}, a list of numbers or a preset's name")
    try:
        factors = block_factors(given, family)
    except Error as problem:
        raise Error(f"blocks of {name!r}: {problem}") from None
    # the lists speak of a whole UNet; a small base has fewer blocks
    return {p: _finite(f"the factor of {name!r} for {p}", f) for p, f in factors.items() if p in prefixes}


def _prefixes(paths: Iterable[str]) -> set[str]:
    """The paths and all that they begin with, up to the component."""
    found = set()
    for path in paths:
        while path and path not in found:
            found.add(path)
            path = path.rpartition(".")[0]
    return found


def _finite(what: str, value: Any) -> float:
    try:
        if type(value) is not bool and isinstance(value, Real) and math.isfinite(value):
            return float(value)
    except OverflowError:  # a whole number beyond all floats
        pass
    raise Error(f"{what} is {value!r}: give a finite number")


def _near(word: str, known: Iterable[str]) -> str:
    near = get_close_matches(str(word), known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""
