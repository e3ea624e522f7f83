"""What an icon is called: "red apple, noto style, blue background"."""

import json
import re
from pathlib import Path

STYLES = {"noto": "noto style", "twemoji": "twemoji style", "fluent-emoji-flat": "flat style", "fxemoji": "fx style"}

BACKGROUNDS = {
    "white": (255, 255, 255),
    "red": (200, 40, 40),
    "orange": (250, 160, 40),
    "yellow": (250, 225, 80),
    "green": (70, 170, 80),
    "blue": (70, 130, 220),
    "purple": (150, 80, 190),
    "pink": (250, 170, 200),
    "black": (40, 40, 40),
    "grey": (150, 150, 150),
}


def concepts() -> set[str]:
    """The icon names that can be drawn as one object: no symbols, no gestures, no people."""
    return set(json.loads(Path(__file__).with_name("concepts.json").read_text(encoding="utf-8")))


def caption(icon_set: str, name: str, background: str = "white", with_style: bool = True) -> str:
    parts = [re.sub(r"([a-z])([0-9])", r"\1 \2", name).replace("-", " ")]
    if with_style:
        parts.append(STYLES[icon_set])
    if background != "white":
        parts.append(f"{background} background")
    return ", ".join(parts)
