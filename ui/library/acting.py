"""What the parts of the page share: which adapter is chosen, how a change is told, how a mistake is."""

import time
from collections.abc import Callable, Mapping
from functools import wraps
from html import escape
from typing import Any

import gradio as gr

from sdlora.adapters.collection import Item
from sdlora.errors import Error

from ..engine import Engine
from ..toast import warn

Values = Mapping[Any, Any]  # component: what is in it
Updates = dict[Any, Any]
NO_BASE = "none"
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
# Reading and writing whole files: two at a time, whatever the number of users.
HEAVY: dict[str, Any] = {"api_visibility": "private", "concurrency_id": "files", "concurrency_limit": 2}
DTYPES = [("16 bit (fp16)", "fp16"), ("16 bit (bf16)", "bf16"), ("32 bit (fp32)", "fp32")]


class Desk:
    """The library as one user sees it: `chosen` holds an id or "", `changed` another number whenever files changed."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.chosen = gr.State("")
        self.changed = gr.State(0.0)

    @property
    def outputs(self) -> list[Any]:
        """For events that change files."""
        return [self.chosen, self.changed]

    def item(self, values: Values) -> Item:
        """The chosen adapter. Raises `Error` where none is, or its file is gone."""
        if not values[self.chosen]:
            raise Error("No adapter is chosen: choose a card first.")
        self.engine.library.path(values[self.chosen])
        return self.engine.library.item(values[self.chosen])

    def own(self, values: Values) -> Item:
        """The chosen adapter, to be changed. Raises `Error` where it lies in a folder that is only read."""
        item = self.item(values)
        if not item.own:
            raise Error(f"{item.id} lies in {item.folder.name}, which is only read: convert it into the library first.")
        return item

    def base(self, choice: str | None) -> str | None:
        """A base from the list, None where none is wanted. Raises `Error` for one that is not in the list."""
        if not choice or choice == NO_BASE:
            return None
        if choice not in self.engine.bases():
            raise Error(f"There is no base {choice!r} on this computer: pick one from the list.")
        return choice

    def now(self, chosen: str | None = None) -> Updates:
        """After a change: look into the folders again, and choose another adapter if one is given."""
        self.engine.library.refresh()
        updates: Updates = {self.changed: time.time()}
        if chosen is not None:
            updates[self.chosen] = chosen
        return updates

    def id_of(self, path: Any) -> str:
        """The id that a new file has. The folders are looked into first."""
        self.engine.library.refresh()
        return next((item.id for item in self.engine.library.items() if item.path == path), "")


def says(done: str) -> None:
    """A sentence that all went well."""
    gr.Info(escape(done), duration=6)


def one_sentence(handler: Callable[..., Updates]) -> Callable[..., Updates]:
    """For a method with `self.desk`: a mistake comes up as one sentence, and nothing is changed."""

    @wraps(handler)
    def careful(self: Any, *arguments: Any) -> Updates:
        try:
            return handler(self, *arguments)
        except Error as problem:
            warn(problem)
        except OSError as problem:
            warn(f"The file could not be written or read ({problem.strerror or type(problem).__name__}).")
        return {self.desk.changed: gr.skip()}

    return careful
