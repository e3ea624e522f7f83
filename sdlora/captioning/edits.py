"""Changing all captions of a folder at once. Text in, text out."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..data.captions import with_trigger, without_trigger


@dataclass(frozen=True)
class Edit:
    """What is done to each line of a caption, in this order: replace (from, to), take a trigger out, prefix, suffix,
    put a trigger in front."""

    replace: Sequence[tuple[str, str]] = ()
    remove_trigger: str = ""
    prefix: str = ""
    suffix: str = ""
    add_trigger: str = ""

    def __bool__(self) -> bool:
        return bool(self.replace or self.remove_trigger or self.prefix or self.suffix or self.add_trigger)

    def __call__(self, text: str) -> str:
        """The caption as it should be; one that is empty stays so."""
        return "\n".join(filter(None, (self._line(line) for line in text.splitlines())))

    def _line(self, line: str) -> str:
        for old, new in self.replace:
            line = line.replace(old, new)
        if self.remove_trigger:
            line = without_trigger(line, self.remove_trigger)
        if not line.strip():
            return ""
        return with_trigger(f"{self.prefix}{line.strip()}{self.suffix}", self.add_trigger or None)
