"""The types of settings: what is written in a TOML file or on a command line, and what is made of it."""

import os
import re
import tomllib
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from ..files import is_safe_name

Auto = Literal["auto"]
Kind = Literal["lora", "locon", "dora", "loha", "lokr", "full", "bottleneck"]
Quantised = Literal["off", "8bit", "4bit"]
SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([GM])i?B", re.IGNORECASE)
DURATION = re.compile(r"(\d+(?:\.\d+)?) ?(s|min|h)", re.IGNORECASE)
TARGETS = ("attention", "feed_forward", "convolutions", "text_attention", "text_mlp", "style", "content", "tokens")


def _safe_name(name: Any) -> Any:
    """A name becomes a folder and a file on any system, so it may hold nothing that one of them forbids."""
    if isinstance(name, str) and not is_safe_name(name):
        raise ValueError("it becomes a file's name: use letters, digits, spaces, - and _")
    return name


def _stripped(value: Any) -> Any:
    """Words without spaces around them; spaces alone are no words."""
    return value.strip() or None if isinstance(value, str) else value


def _listed(value: Any) -> Any:
    """A command line gives one string where a TOML file gives a list."""
    if isinstance(value, str) and value != "auto":
        return [part for part in map(str.strip, value.split(",")) if part]
    return value


def _table(value: Any) -> Any:
    """A command line gives KEY=VALUE, several of them in a list; values as TOML has them, anything else is text."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        return value
    found = {}
    for item in value:
        key, given, text = item.partition("=") if isinstance(item, str) else ("", "", "")
        if not (given and key.strip()):
            raise ValueError("give KEY=VALUE")
        try:
            found[key.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            found[key.strip()] = text.strip()
    return found


def _prompts(value: Any) -> Any:
    """Prompts one by one, or one text file that holds them; a command line gives the file as the only one of many."""
    if isinstance(value, list | tuple) and len(value) == 1 and _names_text_file(value[0]):
        value = value[0]
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str) and value != "auto" and not _names_text_file(value):
        raise ValueError("give a list of prompts, or a text file with one a line, which ends in .txt")
    return value


def _names_text_file(value: Any) -> bool:
    return isinstance(value, str) and value.lower().endswith(".txt")


def _numbers(value: Any) -> Any:
    """A command line gives one string where a TOML file gives a list; one number does as well."""
    return _listed(value) if isinstance(value, str) else [value] if isinstance(value, int | float) else value


def _as_text(value: Any) -> Any:
    """A caller in Python may give a `Path`; the TOML file needs text."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _memory(value: Any) -> Any:
    if value not in ("auto", "off") and not (isinstance(value, str) and SIZE.fullmatch(value)):
        raise ValueError("give auto, off, or a size such as 6GB")
    return value


def _bits(value: Any) -> Any:
    """Before there were 4 bits it was true or false."""
    return {"true": "8bit", "false": "off"}.get(str(value).lower(), value)


def _duration(value: Any) -> Any:
    if value != "auto" and not (isinstance(value, str) and seconds_of(value)):
        raise ValueError("give auto, or a time such as 90s, 20min or 2h")
    return value


Name = Annotated[str, BeforeValidator(_safe_name)]
Words = Annotated[str | None, BeforeValidator(_stripped)]
Place = Annotated[str, BeforeValidator(_as_text)]
Listed = Annotated[list[str], BeforeValidator(_listed)]
Prompts = Annotated[list[str] | str, BeforeValidator(_prompts)]
Weights = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=1), BeforeValidator(_numbers)]
Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Scale = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Ranks = Annotated[dict[str, Positive], BeforeValidator(_table)]
Rates = Annotated[dict[str, Rate], BeforeValidator(_table)]
Argument = bool | int | float | str | list[bool | int | float | str]
Table = Annotated[dict[str, Argument], BeforeValidator(_table)]
Bits = Annotated[Quantised, BeforeValidator(_bits)]
Memory = Annotated[str, BeforeValidator(_memory)]
Duration = Annotated[str, BeforeValidator(_duration)]
Schedule = Literal[
    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "piecewise_constant"
]


def budget_of(memory: str) -> int | None:
    """Bytes of a size such as 6GB, as makers of GPUs count them (2^30 a GB); None for auto and off."""
    found = SIZE.fullmatch(memory)
    return int(float(found[1]) * (1 << (30 if found[2] in "gG" else 20))) if found else None


def seconds_of(duration: str) -> float | None:
    """Seconds of a time such as 20min; None for auto and for what is none."""
    found = DURATION.fullmatch(duration)
    return float(found[1]) * {"s": 1, "min": 60, "h": 3600}[found[2].lower()] if found else None
