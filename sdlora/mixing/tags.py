"""Adapters named in a prompt: `<lora:ink:0.8>`, `<lora:ink:0.6:0.3>`, `<lora:ink:te=0.6:unet=0.3:lbw=OUTD:stop=10>`."""

import math
import re
from dataclasses import dataclass
from typing import Any

from ..errors import Error
from .timeline import Moment, read_moment

_TAG = re.compile(r"<(\w+):([^>]+)>")  # as A1111 finds tags of every kind
_KINDS = ("lora", "lyco")
_POSITIONS = ("te", "unet")
_KEYS = ("te", "unet", "lbw", "start", "stop")


@dataclass(frozen=True)
class Tag:
    """One adapter of a prompt: a library entry's name with its weights for the text encoder and the UNet.

    `blocks` is a list of A1111's block weights or a preset's name, as it was written, see `blocks.block_factors`.
    """

    name: str
    text: float
    unet: float
    blocks: str | None = None
    start: Moment | None = None
    stop: Moment | None = None

    def given(self) -> dict[str, Any]:
        """What `mix.parse` takes."""
        more = {"blocks": self.blocks, "start": self.start and str(self.start), "stop": self.stop and str(self.stop)}
        return {"unet": self.unet, "text": self.text} | {key: value for key, value in more.items() if value is not None}

    def __str__(self) -> str:
        """The shortest tag that says the same."""
        parts = [f"lora:{self.name}:{number(self.text)}"]
        if self.unet != self.text:
            parts.append(number(self.unet))
        settings = (("lbw", self.blocks), ("start", self.start), ("stop", self.stop))
        parts += [f"{key}={value}" for key, value in settings if value is not None]
        return f"<{':'.join(parts)}>"


@dataclass(frozen=True)
class TaggedPrompt:
    """A prompt without its tags, and the tags in order. `others` are tags of kinds that sdlora has none of, such as
    `<hypernet:…>`: A1111 takes these out of the prompt, too."""

    text: str
    tags: tuple[Tag, ...]
    others: tuple[str, ...] = ()


def read_tags(prompt: str) -> TaggedPrompt:
    """Take the tags out of a prompt. Raises `Error` for one that can't be understood.

    The grammar is that of stable-diffusion-webui's Lora extension: the first number is the text encoder's weight and
    the UNet's as well, unless a second follows; `lbw`, `start` and `stop` are those of sd-webui-lora-block-weight.
    """
    tags: list[Tag] = []
    others: list[str] = []
    for match in _TAG.finditer(prompt):
        if match[1] in _KINDS:
            tags.append(_tag(match[0], match[2]))
        else:
            others.append(match[0])
    return TaggedPrompt(_TAG.sub("", prompt), tuple(tags), tuple(others))


def number(value: float) -> str:
    """All digits that a number needs, none that it does not: 0.8, 1, 0.3333333333333333."""
    return repr(float(value)).removesuffix(".0")


def _tag(written: str, content: str) -> Tag:
    name, *items = content.split(":")
    if not name.strip():
        raise Error(f"the tag {written} names no adapter: write <lora:NAME:WEIGHT>")
    values: dict[str, str] = {}
    positions = iter(_POSITIONS)
    for item in items:
        key, equals, value = item.partition("=")
        key = key.strip() if equals else next(positions, "")
        if key not in _KEYS:
            raise Error(
                f"the tag {written} has {item!r} in it, which is neither a weight nor one of {', '.join(_KEYS)}"
            )
        values[key] = (value if equals else item).strip()
    text = _weight(written, values.get("te", "1"))
    return Tag(
        name.strip(),
        text,
        _weight(written, values["unet"]) if "unet" in values else text,
        values.get("lbw"),
        _moment(written, values.get("start")),
        _moment(written, values.get("stop")),
    )


def _weight(written: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise Error(f"the tag {written} has {text!r} for a weight: give a finite number")
    return value


def _moment(written: str, text: str | None) -> Moment | None:
    try:
        return None if text is None else read_moment(text)
    except Error as problem:
        raise Error(f"the tag {written}: {problem}") from None
