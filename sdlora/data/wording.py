"""What training makes of a caption: always the same, or anew each time it is seen."""

import re
from dataclasses import dataclass
from random import Random

from .folder import Example

_CHOICE = re.compile(r"\{([^{}]*\|[^{}]*)\}")  # the innermost, so that nested ones are chosen from the inside out


@dataclass(frozen=True)
class Wording:
    """Prefix and suffix for each caption; what is random: one of several lines, `{a|b}` as one of its parts, tags
    (what commas separate) in another order but for the first `keep`, some of them left out. The trigger never is."""

    prefix: str = ""
    suffix: str = ""
    choose_line: bool = False
    wildcards: bool = False
    shuffle: bool = False
    keep: int = 0
    tag_dropout: float = 0.0
    trigger: str = ""

    @property
    def varies(self) -> bool:
        """Whether a caption can be another each time."""
        return self.choose_line or self.wildcards or self.shuffle or self.tag_dropout > 0

    def plain(self, example: Example) -> str:
        """The caption without anything random: for what is measured and for previews."""
        return _joined(self.prefix, example.caption, self.suffix)

    def written(self, example: Example, chance: Random) -> str:
        """The caption as it is seen this time."""
        text = chance.choice(example.lines) if self.choose_line and example.lines else example.caption
        while self.wildcards and (found := _CHOICE.search(text)):
            text = text[: found.start()] + chance.choice(found[1].split("|")) + text[found.end() :]
        if self.shuffle or self.tag_dropout:
            text = ", ".join(self._tags(text, chance))
        return _joined(self.prefix, text, self.suffix)

    def _tags(self, text: str, chance: Random) -> list[str]:
        tags = [tag for tag in map(str.strip, text.split(",")) if tag]
        kept, rest = tags[: self.keep], tags[self.keep :]
        rest = [tag for tag in rest if self._is_trigger(tag) or chance.random() >= self.tag_dropout]
        if self.shuffle:
            chance.shuffle(rest)
        return kept + rest

    def _is_trigger(self, tag: str) -> bool:
        return bool(self.trigger) and self.trigger.casefold() in tag.casefold()


def _joined(*parts: str) -> str:
    return " ".join(part for part in map(str.strip, parts) if part)


PLAIN = Wording()  # captions as they are
