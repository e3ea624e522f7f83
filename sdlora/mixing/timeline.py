"""When in a generation an adapter acts: from a start to a stop, with ramps."""

import math
import re
from dataclasses import dataclass
from numbers import Real
from typing import Any

from ..errors import Error

_STEP = re.compile(r"\d+")


@dataclass(frozen=True)
class Moment:
    """A point of a generation: the beginning of a step, the first of which is 1, or a fraction of the steps."""

    value: float
    is_step: bool

    def after_steps(self, steps: int) -> float:
        """How many of `steps` steps, from 0 to all, are done when it comes."""
        return min(float(steps), max(0.0, self.value - 1) if self.is_step else self.value * steps)

    def given(self) -> float | str:
        """What `read_moment` makes this of."""
        return str(self) if self.is_step else self.value

    def __str__(self) -> str:
        return str(int(self.value)) if self.is_step else repr(self.value)


BEGINNING, END = Moment(0.0, is_step=False), Moment(1.0, is_step=False)


@dataclass(frozen=True)
class Span:
    """The time in which an adapter acts. `ramp_in` is the share of all steps in which its weight rises evenly from 0
    after `start`, `ramp_out` that in which it falls to 0 before `stop`."""

    start: Moment = BEGINNING
    stop: Moment = END
    ramp_in: float = 0.0
    ramp_out: float = 0.0

    def factor(self, step: int, steps: int) -> float:
        """What a weight is multiplied by in a step (from 0) of `steps`: its value in the step's middle.

        From `steps` on, in a second pass, what is in force at the end stays in force.
        """
        begin, end = self.start.after_steps(steps), self.stop.after_steps(steps)
        if step >= steps:
            return float(begin < end == steps and not self.ramp_out)
        middle = step + 0.5
        if not begin <= middle < end:
            return 0.0
        rise = (middle - begin) / (self.ramp_in * steps) if self.ramp_in else 1.0
        fall = (end - middle) / (self.ramp_out * steps) if self.ramp_out else 1.0
        return min(1.0, rise, fall)

    @property
    def without_ramps(self) -> "Span":
        """What a tag can say of it."""
        return Span(self.start, self.stop)

    def given(self) -> dict[str, Any]:
        """The keys of a mix that `read_span` makes this of; none for all of the time."""
        found = {
            "start": self.start.given(),
            "stop": self.stop.given(),
            "ramp_in": self.ramp_in,
            "ramp_out": self.ramp_out,
        }
        usual = {"start": 0.0, "stop": 1.0, "ramp_in": 0.0, "ramp_out": 0.0}
        return {key: value for key, value in found.items() if value != usual[key]}


ALWAYS = Span()
SPAN_KEYS = ("start", "stop", "ramp_in", "ramp_out")


def read_moment(given: object) -> Moment:
    """A number is a fraction of the steps; text is read as in a tag, where a whole number is a step (`"10"`).

    Raises `Error` for anything else.
    """
    if isinstance(given, str) and _STEP.fullmatch(given):
        return Moment(float(given), is_step=True)
    try:
        value = math.nan if isinstance(given, bool) or not isinstance(given, Real | str) else float(given)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise Error(f'{given!r} is no time: give a fraction of the steps (0.5) or, as text, a step ("10")')
    return Moment(value, is_step=False)


def read_span(given: dict[str, Any]) -> Span:
    """The span of the keys `start`, `stop`, `ramp_in`, `ramp_out`. Raises `Error` for one that is never."""
    start, stop = read_moment(given.get("start", 0.0)), read_moment(given.get("stop", 1.0))
    if start.is_step == stop.is_step and start.value >= stop.value:
        raise Error(f"it starts at {start} and stops at {stop}: the start must come before the stop")
    ramps = [given.get(key, 0.0) for key in ("ramp_in", "ramp_out")]
    for ramp in ramps:
        if isinstance(ramp, bool) or not isinstance(ramp, Real) or not 0 <= float(ramp) <= 1:
            raise Error(f"{ramp!r} is no ramp: give a share of the steps from 0 to 1")
    return Span(start, stop, *(float(ramp) for ramp in ramps))
