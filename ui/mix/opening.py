"""What a page opens with: what its tab had before it was loaded again, or something to begin with."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdlora.errors import Error
from sdlora.mixing.infotext import parse_infotext
from sdlora.pictures import open_picture
from sdlora.resources import SAMPLE_ADAPTERS

from ..engine import Engine
from ..job import Picture
from .fields import PROMPT
from .result import HISTORY
from .rows import Row

WEIGHT = 0.8  # of each of two: both are seen, neither is too much
NEWEST = 2  # own adapters that a new page shows


def fresh(engine: Engine) -> dict[str, Any]:
    """Never empty: the newest own adapters, else the samples, and their words in the prompt."""
    engine.adapters()
    items = [item for item in engine.library.items() if not item.listed.summary.problem]
    own = sorted((item for item in items if item.own), key=lambda item: (-item.version, item.id))[:NEWEST]
    chosen = sorted(own or (item for item in items if item.folder == SAMPLE_ADAPTERS), key=lambda item: item.id)
    words = dict.fromkeys(item.trigger for item in chosen if item.trigger)
    rows = [Row(name=item.id, on=True, weight=item.sidecar.weight or WEIGHT) for item in chosen]
    return {"mix": rows, "prompt": ", ".join([PROMPT, *words])}


def read_kept(text: str, names: Sequence[str]) -> dict[str, Any] | None:
    """The fields by name as the browser kept them, and under `pictures` the files' names; None where it kept none, or
    something else. It is checked like anything that a browser sends."""
    try:
        *values, gallery = json.loads(text)
        found = dict(zip(names, values, strict=True))
        pictures = [Path(entry["image"]["path"]).name for entry in gallery or []]
        texts = all(isinstance(found[name], str) for name in ("base", "prompt", "negative"))
        return {**found, "pictures": pictures} if texts and isinstance(found["mix"], list) else None
    except (ValueError, TypeError, KeyError):
        return None


def still_there(names: Sequence[str], outputs: Path) -> list[Picture]:
    """The session's pictures of these names. A name comes from the browser: it is never followed as a path."""
    found = []
    for name in names[:HISTORY]:
        path = outputs / Path(name).name
        try:
            text = open_picture(path)[1]
        except Error:
            continue
        found.append(Picture(path, text, int(parse_infotext(text).number("Seed") or 0)))
    return found
