"""Captions counted: tags, lengths in tokens, the trigger, what does not fit into the text encoder's context."""

import re
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..captions import with_trigger
from .base_facts import BaseFacts
from .findings import Finding
from .study import Picture

# What A1111 reads in a prompt: in a caption it is text as any other.
_SYNTAX = re.compile(r"<(?:lora|lyco|hypernet):[^>]*>|\([^()]*:\d+(?:\.\d+)?\)|\(\(|\bBREAK\b")
_UNLIKE = 5  # times as long as half of the captions, or as short


@dataclass(frozen=True)
class CaptionStatistics:
    """Counts over the images that are trained on. Tokens are counted with the trigger in front, without start and end;
    `room` is how many the context holds; `tags` are what commas separate, the most frequent first."""

    images: int
    captioned: int
    with_trigger: int
    several_lines: int
    room: int
    tokens_least: int
    tokens_median: float
    tokens_most: int
    over_context: int
    tags: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def tags_of(text: str) -> list[str]:
    """What commas separate."""
    return [tag for tag in map(str.strip, text.replace("\n", ",").split(",")) if tag]


def count_captions(pictures: Sequence[Picture], facts: BaseFacts, trigger: str | None) -> CaptionStatistics:
    """The statistics of a folder."""
    lengths = [len(tokens(facts, picture, trigger)) for picture in pictures] or [0]
    room = room_of(facts)
    tags = Counter(tag for picture in pictures for tag in tags_of(picture.said.text))
    return CaptionStatistics(
        images=len(pictures),
        captioned=sum(bool(picture.said.text) for picture in pictures),
        with_trigger=sum(bool(trigger) and has_trigger(picture.said.text, trigger) for picture in pictures),
        several_lines=sum("\n" in picture.said.text for picture in pictures),
        room=room,
        tokens_least=min(lengths),
        tokens_median=statistics.median(lengths),
        tokens_most=max(lengths),
        over_context=sum(length > room for length in lengths),
        tags=dict(tags.most_common()),
    )


def caption_findings(pictures: Sequence[Picture], facts: BaseFacts, trigger: str | None) -> Iterator[Finding]:
    """What is odd about single captions."""
    yield from _trigger_findings(pictures, trigger)
    lengths = [len(tokens(facts, picture, None)) for picture in pictures if picture.said.text]
    middle = statistics.median(lengths) if lengths else 0
    for picture in pictures:
        text = picture.said.text
        whole = tokens(facts, picture, trigger)
        if over := max(0, len(whole) - room_of(facts)):
            cut = facts.tokenizers[0].decode(whole[-over:]).strip()
            yield Finding(
                "over-context",
                picture.name,
                f"Its caption has {len(whole)} tokens, and {facts.name} reads {room_of(facts)}: “{_begin(cut)}” is cut "
                "off; shorten it.",
            )
        elif text and middle and not middle / _UNLIKE <= len(tokens(facts, picture, None)) <= middle * _UNLIKE:
            much = f"{len(tokens(facts, picture, None))} tokens, half of the others have {middle:g} or fewer"
            yield Finding("unlike-lengths", picture.name, f"Its caption is of very unlike length ({much}).")
        if "\n" in text:
            lines = text.count("\n") + 1
            sentence = f"Its caption has {lines} lines, read as one: --caption-lines choose takes one at a time."
            yield Finding("several-lines", picture.name, sentence)
        if found := _SYNTAX.search(text):
            sentence = f"“{found[0]}” in its caption is prompt language, which training reads as plain text: remove it."
            yield Finding("prompt-syntax", picture.name, sentence)


def has_trigger(text: str, trigger: str | None) -> bool:
    """Whether the trigger is in a caption, so that training puts none in front."""
    return with_trigger(text, trigger) == text


def tokens(facts: BaseFacts, picture: Picture, trigger: str | None) -> list[int]:
    """The ids of the caption as training reads it, without start and end; of the encoder that needs the most."""
    text = with_trigger(" ".join(picture.said.text.split()), trigger)
    read = (tokenizer(text, add_special_tokens=False, verbose=False).input_ids for tokenizer in facts.tokenizers)
    return max(read, key=len)


def room_of(facts: BaseFacts) -> int:
    """Tokens that the context holds between its start and its end."""
    return min(int(tokenizer.model_max_length) for tokenizer in facts.tokenizers) - 2


def _trigger_findings(pictures: Sequence[Picture], trigger: str | None) -> Iterator[Finding]:
    for picture in pictures:
        if trigger and picture.said.text and not has_trigger(picture.said.text, trigger):
            sentence = f"The trigger '{trigger}' is not in its caption: training puts it in front."
            yield Finding("trigger-missing", picture.name, sentence)


def _begin(text: str, longest: int = 60) -> str:
    return text if len(text) <= longest else f"{text[:longest]}…"
