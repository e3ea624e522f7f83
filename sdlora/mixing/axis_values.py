"""The values of a grid's axis as people write them: lists with commas and ranges, by A1111's grammar.

`1, 2, 5`   `"a, b", c`   `1-5`   `1-9(+2)`   `9-1(-4)`   `0-1[5]`
"""

import csv
import math
import re
from collections.abc import Iterator
from fractions import Fraction
from io import StringIO
from itertools import chain
from typing import TypeVar

from ..errors import Error, printable

Value = TypeVar("Value")
MOST = 1000  # values of one axis: more is a slip of the keyboard
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)"
_RANGE = re.compile(rf"({_NUMBER})\s*-\s*({_NUMBER})\s*(?:\(\s*({_NUMBER})\s*\)|\[\s*(\d+)\s*\])?")


def texts(written: str) -> list[str]:
    """The parts between commas, without the spaces around them; a part in quotation marks may hold commas.

    Raises `Error` where there are none.
    """
    rows = csv.reader(StringIO(written, newline=""), skipinitialspace=True)
    found = list(dict.fromkeys(part.strip() for part in chain.from_iterable(rows)))
    if not any(found):
        raise Error("there are no values: write them after the =, with commas between them")
    return _few(found)


def numbers(written: str) -> list[float]:
    """`0, 0.5, 1`, `0-1[5]` (so many, evenly spaced), `0-1(+0.25)` (by steps). Raises `Error` for anything else."""
    try:
        found = [float(value) for part in _parts(written) for value in _values(part)]
    except OverflowError:
        raise Error(f"{_shown(written)} has a number in it that is too large") from None
    return _few(list(dict.fromkeys(found)))


def whole_numbers(written: str) -> list[int]:
    """Likewise; of evenly spaced numbers the fractions are cut off, as in A1111. Raises `Error` for a fraction."""
    found = []
    for part in _parts(written):
        for value in _values(part):
            if value.denominator != 1 and not part.endswith("]"):
                raise Error(f"{_shown(part)} is not whole: give whole numbers")
            found.append(int(value))
    return _few(list(dict.fromkeys(found)))


def _parts(written: str) -> list[str]:
    return [part for part in texts(written) if part]


def _values(part: str) -> Iterator[Fraction]:
    """One number, or all of a range; as fractions, so that 0.1 three times is 0.3."""
    match = _RANGE.fullmatch(part)
    try:
        if match is None:
            yield _number(part)
        else:
            start, end = Fraction(match[1]), Fraction(match[2])
            yield from _even(start, end, int(match[4])) if match[4] else _stepped(part, start, end, match[3])
    except ValueError:
        raise Error(
            f"{_shown(part)} is no number and no range: write 0.5, 0-1[5] for five of them or 0-1(+0.25) for steps"
        ) from None


def _number(part: str) -> Fraction:
    if not math.isfinite(float(part)):
        raise Error(f"{_shown(part)} is not finite: give a finite number")
    return Fraction(part)


def _even(start: Fraction, end: Fraction, count: int) -> list[Fraction]:
    if count < 1:
        raise Error(f"[{count}] asks for no values: give at least 1")
    _refuse_many(count)
    return [start + (end - start) * i / max(1, count - 1) for i in range(count)]


def _stepped(part: str, start: Fraction, end: Fraction, step_text: str | None) -> list[Fraction]:
    """From start to end, never beyond; without a step by 1, downwards where the end is lower."""
    step = Fraction(step_text) if step_text else Fraction(1 if end >= start else -1)
    if not step or (end - start) / step < 0:
        raise Error(f"{_shown(part)} never comes to its end: give a step towards it, such as 9-1(-2)")
    count = math.floor((end - start) / step) + 1
    _refuse_many(count)
    return [start + i * step for i in range(count)]


def _few(found: list[Value]) -> list[Value]:
    _refuse_many(len(found))
    return found


def _refuse_many(count: int) -> None:
    if count > MOST:
        raise Error(f"there are more than {MOST} values: give fewer")


def _shown(text: str) -> str:
    return repr(printable(text, 80))
