"""The trash: what was deleted, and the way back."""

import time
from datetime import datetime

import gradio as gr

from sdlora.adapters.trash import Deleted, Trash
from sdlora.errors import Error
from sdlora.files import size_text

from .acting import QUIET, Desk, Updates, Values, one_sentence, says

EMPTY = "Empty the trash for good"


class TrashBox:
    """Restore, and empty for good."""

    def __init__(self, desk: Desk, trash: Trash) -> None:
        self.desk, self._trash = desk, trash
        with gr.Row(visible=False, elem_classes="line", elem_id="trash") as self._box:
            self._deleted = gr.Dropdown([], label="In the trash", scale=3, min_width=200)
            self._restore = gr.Button("Restore", size="sm", variant="primary", min_width=90)
            self._empty = gr.Button(EMPTY, size="sm", variant="stop", min_width=90)
        self._asked = gr.State(False)  # whether the button was pressed once
        self.outputs = [self._box, self._deleted, self._empty, self._asked]
        self._restore.click(self._bring_back, {self._deleted}, desk.outputs, **QUIET)
        self._empty.click(self._delete_for_good, {self._asked}, [*desk.outputs, self._empty, self._asked], **QUIET)

    def show(self) -> Updates:
        """What lies there now; nothing is shown of an empty trash."""
        items = self._trash.items()
        choices = [(_told(item), item.id) for item in items]
        return {
            self._box: gr.update(visible=bool(items)),
            self._deleted: gr.update(
                choices=choices, value=choices[0][1] if choices else None, label=f"In the trash ({len(items)})"
            ),
            self._empty: EMPTY,
            self._asked: False,
        }

    @one_sentence
    def _bring_back(self, values: Values) -> Updates:
        if not values[self._deleted]:
            raise Error("Choose what shall come back.")
        return self.desk.now(self.desk.id_of(self._trash.restore(values[self._deleted])))

    @one_sentence
    def _delete_for_good(self, values: Values) -> Updates:
        if not values[self._asked]:
            return {self._empty: "Press again: nothing brings them back", self._asked: True}
        says(f"{self._trash.empty()} adapters are deleted for good.")
        return self.desk.now()


def _told(item: Deleted) -> str:
    when = datetime.fromtimestamp(item.when)
    today = time.time() - item.when < 24 * 3600
    return f"{item.name}, {size_text(item.size)}, deleted {when:%H:%M}" + ("" if today else f" {when:%Y-%m-%d}")
