"""Notes on an adapter: A1111's `name.json` and the picture beside the file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from sdlora.adapters.collection import Item
from sdlora.adapters.sidecar import HEAVIEST, Sidecar, write_sidecar
from sdlora.data.images import open_image
from sdlora.errors import Error
from sdlora.files import write_atomically

from .acting import QUIET, Desk, Updates, Values, one_sentence, says

SIDE = 512  # pixels of the picture that is kept


class Notes:
    """Fields for what is kept beside a file."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._read_only = gr.HTML(visible=False, elem_classes="hint")
        with gr.Row():
            self._weight = gr.Number(
                label="Preferred weight", minimum=-HEAVIEST, maximum=HEAVIEST, step=0.05, min_width=120, scale=1
            )
            self._activation = gr.Textbox(label="Trigger words", scale=2, min_width=180)
        self._notes = gr.Textbox(label="Notes", lines=3, max_lines=12)
        self._description = gr.Textbox(label="Description", lines=1, max_lines=8)
        self._negative = gr.Textbox(label="Negative prompt that goes with it", lines=1)
        with gr.Row():
            self._save = gr.Button("Save notes", variant="primary", size="sm", min_width=120)
            self._picture = gr.UploadButton(
                "Choose a picture", file_types=["image"], size="sm", variant="secondary", min_width=120
            )
        self._fields = [self._weight, self._activation, self._notes, self._description, self._negative]
        self.outputs = [self._read_only, self._save, self._picture, *self._fields]
        self._save.click(self._keep, {desk.chosen, *self._fields}, desk.outputs, **QUIET)
        self._picture.upload(self._show_as, {desk.chosen, self._picture}, desk.outputs, **QUIET)

    def show(self, item: Item) -> Updates:
        """Fill the fields."""
        notes = item.sidecar
        where = (
            "" if item.own else f"{item.folder.name} is only read: convert the adapter into the library to note here."
        )
        texts: dict[Any, Any] = {
            self._weight: notes.weight,
            self._activation: notes.activation,
            self._notes: notes.notes,
            self._description: notes.description,
            self._negative: notes.negative,
        }
        updates = {field: gr.update(value=value, interactive=item.own) for field, value in texts.items()}
        buttons = {button: gr.update(interactive=item.own) for button in (self._save, self._picture)}
        return updates | buttons | {self._read_only: gr.update(value=where, visible=bool(where))}

    @one_sentence
    def _keep(self, values: Values) -> Updates:
        item = self.desk.own(values)
        weight, activation, notes, description, negative = (values[field] for field in self._fields)
        sidecar = Sidecar(activation or "", negative or "", weight, notes or "", description or "")
        write_sidecar(item.path, replace(sidecar, activation=sidecar.activation.strip()))
        says(f"The notes on {item.id} are kept.")
        return self.desk.now()

    @one_sentence
    def _show_as(self, values: Values) -> Updates:
        item = self.desk.own(values)
        if not values[self._picture]:
            raise Error("No picture has come: choose one.")
        image = open_image(Path(str(values[self._picture])))
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        write_atomically(item.path.with_suffix(".preview.png"), lambda target: image.save(target, "PNG"))
        return self.desk.now()
