"""The mix as rows: on or off, name, trigger words, weight, and behind a disclosure all else that a mix may say."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import quote

import gradio as gr

from sdlora.adapters.collection import Item
from sdlora.adapters.sidecar import preview_file
from sdlora.errors import Error
from sdlora.mixing.mix import Given
from sdlora.mixing.timeline import SPAN_KEYS

from ..engine import Engine

HERE = Path(__file__).parent
MOST_FOUND = 30  # of a search are shown
MOST_ROWS, LONGEST_SEARCH = 64, 200


class Row(TypedDict, total=False):
    """One row as the browser holds it. `unet` and `text` are None where `weight` is for both; `blocks`, `start` and so
    on are as in a mix, None or "" where it says nothing of them."""

    name: str
    on: bool
    weight: float
    unet: float | None
    text: float | None
    blocks: Any
    start: float | str | None
    stop: float | str | None
    ramp_in: float | None
    ramp_out: float | None


class Rows:
    """Draws itself in the browser (`rows.js`), so that moving, adding and finding adapters waits for nothing. The value
    of `mix` is the list of rows; its event `release` comes when a change is final."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

        def search(text: str) -> dict[str, Any]:
            return self._search(str(text)[:LONGEST_SEARCH])

        def facts(names: list[str]) -> dict[str, Any]:
            return {str(name): self._facts(str(name)) for name in names[:MOST_ROWS]}

        self.mix = gr.HTML(
            value=[],
            html_template=(HERE / "rows.html").read_text(encoding="utf-8"),
            js_on_load=(HERE / "rows.js").read_text(encoding="utf-8"),
            apply_default_css=False,
            server_functions=[search, facts],
            elem_id="adapters",
        )

    def _search(self, text: str) -> dict[str, Any]:
        """What the library has for these words."""
        if not text:
            self._engine.adapters()  # looks into the folders again
        found = self._engine.library.search(text)
        return {"items": [told(item) for item in found[:MOST_FOUND]], "total": len(found)}

    def _facts(self, name: str) -> dict[str, Any]:
        try:
            return told(self._engine.library.item(name))
        except Error:
            return {"name": name, "problem": "is not in the library"}


def told(item: Item) -> dict[str, Any]:
    """What a row or a list shows of an adapter."""
    return {
        "name": item.id,
        "trigger": item.trigger,
        "family": item.family,
        "weight": item.sidecar.weight,
        "problem": item.listed.summary.problem,
        "thumbnail": thumbnail_url(item),
    }


def thumbnail_url(item: Item) -> str:
    """Where the server has its picture; "" where there is none."""
    if not (item.listed.summary.thumbnail or preview_file(item.path)):
        return ""
    return f"library/thumbnail/{quote(item.id, safe='')}?v={item.version}"


def mix_of(rows: list[Row] | None) -> dict[str, Given]:
    """What a mixer takes, of the rows that are on. Raises `Error` for rows that are none."""
    found: dict[str, Given] = {}
    for row in rows or []:
        if not isinstance(row, dict) or not isinstance(row.get("name"), str) or len(found) >= MOST_ROWS:
            raise Error(f"a mix has at most {MOST_ROWS} adapters, each with a name: clear it and begin anew")
        if row.get("on"):
            found[row["name"]] = given_of(row)
    return found


def given_of(row: Row) -> Given:
    """One row's weights, as a mix says them: one number where that is enough."""
    weight = row.get("weight", 1.0)
    said = {key: row[key] for key in ("unet", "text") if row.get(key) is not None}
    more = {key: row[key] for key in ("blocks", *SPAN_KEYS) if row.get(key) not in (None, "", {})}  # type: ignore[literal-required]
    if not said and not more:
        return weight
    return {"unet": weight, "text": weight} | said | {key: _moment(key, value) for key, value in more.items()}


def row_of(name: str, given: Given) -> Row:
    """The other way."""
    if not isinstance(given, Mapping):
        return Row(name=name, on=True, weight=given)
    unet, text = given.get("unet", 1.0), given.get("text", 1.0)
    row = Row(name=name, on=given.get("enabled", True), weight=unet if unet == text else max(unet, text, key=abs))
    if unet != text:
        row |= Row(unet=unet, text=text)
    for key in ("blocks", *SPAN_KEYS):
        if given.get(key) not in (None, "", {}):
            row[key] = given[key]  # type: ignore[literal-required]
    return row


def _moment(key: str, value: Any) -> Any:
    """A time typed in is text: `0.5` is a fraction, `10` a step."""
    return value.strip() if isinstance(value, str) and key in ("start", "stop") else value
