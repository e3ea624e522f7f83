"""Adapters named in a prompt: `<lora:ink:0.8>`, `<lora:ink:0.6:0.3>`, `<lora:ink:te=0.6:unet=0.3:lbw=OUTD:stop=10>`."""

import math
import re
from dataclasses import dataclass

from ..errors import Error

_TAG = re.compile(r"<(\w+):([^>]+)>")  # as A1111 finds tags of every kind
_KINDS = ("lora", "lyco")
_POSITIONS = ("te", "unet")
_KEYS = ("te", "unet", "lbw", "start", "stop")
_STEP = re.compile(r"\d+")


@dataclass(frozen=True)
class Moment:
    """A point of a generation: the beginning of a step, the first of which is 1, or a fraction of the steps."""

    value: float
    is_step: bool

    def after_steps(self, steps: int) -> float:
        """How many of `steps` steps, from 0 to all, are done when it comes."""
        return min(float(steps), max(0.0, self.value - 1) if self.is_step else self.value * steps)

    def __str__(self) -> str:
        return str(int(self.value)) if self.is_step else repr(self.value)


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
    if text is None:
        return None
    if _STEP.fullmatch(text):
        return Moment(int(text), is_step=True)
    value = _weight(written, text)
    if not 0 <= value <= 1:
        raise Error(f"the tag {written} has {text!r} for a time: give a step (10) or a fraction of the steps (0.5)")
    return Moment(value, is_step=False)
