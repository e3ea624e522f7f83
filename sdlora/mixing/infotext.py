"""The text by which A1111 and others say what made a picture, written and read (FORMATS §7).

PROMPT
Negative prompt: …
Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512, Model: "a, b"
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

NEGATIVE = "Negative prompt:"
FEWEST_FACTS = 3  # a last line with fewer of them is part of the prompt
# A key is a word of two characters or more with spaces, - and / in it; a value is a JSON string or goes to the comma.
_FACT = re.compile(
    r"""
    \s* (?P<key> \w [\w\ \-/]+ )
    : \s* (?P<value> "(?: \\. | [^\\"] )+" | [^,]* )
    (?: , | $ )
    """,
    re.VERBOSE,
)
_SIZE = re.compile(r"(\d+)x(\d+)")


@dataclass(frozen=True)
class Infotext:
    """A prompt, a negative prompt and the facts in their order, values as text, unquoted."""

    prompt: str
    negative: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)

    def size(self, key: str = "Size") -> tuple[int, int] | None:
        """A fact such as `512x768` as (width, height) in pixels; None where there is none."""
        match = _SIZE.fullmatch(self.facts.get(key, ""))
        return (int(match[1]), int(match[2])) if match else None

    def number(self, key: str) -> float | None:
        """A fact as a number; None where there is none."""
        try:
            return float(self.facts[key])
        except (KeyError, ValueError):
            return None

    def lora_hashes(self) -> dict[str, str]:
        """Adapter's name -> the first digits of its hash, of the fact `Lora hashes`."""
        pairs = re.findall(r"(?:^|, )((?:(?!, ).)*?): ([0-9a-fA-F]+)(?=, |$)", self.facts.get("Lora hashes", ""))
        return dict(pairs)

    def __str__(self) -> str:
        """The text, without the parts that are empty. A fact whose value is its key stands alone, as in A1111."""
        lines = [self.prompt]
        if self.negative:
            lines.append(f"{NEGATIVE} {self.negative}")
        lines.append(", ".join(key if key == value else f"{key}: {quote(value)}" for key, value in self.facts.items()))
        return "\n".join(lines).strip()


def quote(value: object) -> str:
    """What holds a comma, a colon or a line break is written as JSON; so is what begins as JSON would."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if re.search(r'[,:\n]|^\s*"', text) else text


def unquote(text: str) -> str:
    """The other way; what begins and ends with a quotation mark and is no JSON string is as it is."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, str) else text


def parse_infotext(text: str) -> Infotext:
    """Read the text by A1111's rules, which take any text: the last line holds the facts if there are three or more in
    it, else it is part of the prompt; lines lose the spaces around them; of a fact that comes twice the last counts.
    """
    *lines, last = text.strip().split("\n")
    facts = {match["key"]: unquote(match["value"]) for match in _FACT.finditer(last) if match["value"]}
    if sum(1 for _ in _FACT.finditer(last)) < FEWEST_FACTS:
        lines, facts = [*lines, last], {}
    prompt: list[str] = []
    negative: list[str] | None = None
    for line in map(str.strip, lines):
        if line.startswith(NEGATIVE):
            negative = [*(negative or []), line.removeprefix(NEGATIVE).strip()]
        elif negative is None:
            prompt.append(line)
        else:
            negative.append(line)
    return Infotext("\n".join(prompt).lstrip("\n"), "\n".join(negative or []).lstrip("\n"), facts)
