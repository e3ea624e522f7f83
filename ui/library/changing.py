"""Another name, another format, a smaller file, the trash: what can be done with one adapter."""

from typing import Any

import gradio as gr

from sdlora import algebra
from sdlora.adapters import library, save_adapter
from sdlora.adapters.collection import Item
from sdlora.adapters.formats import convert
from sdlora.adapters.keeping import new_file, rename
from sdlora.adapters.trash import Trash
from sdlora.errors import Error
from sdlora.files import size_text

from .acting import DTYPES, HEAVY, NO_BASE, QUIET, Desk, Updates, Values, one_sentence, says

RANK, KEEP, ERROR = "to a rank", "keeping a share of the energy", "with an error of at most"
LIMITS = {RANK: (1, 1024, 8), KEEP: (0.01, 1, 0.99), ERROR: (0.0001, 1, 0.05)}  # least, most, usual


class Changing:
    """Rename, convert, resize, delete."""

    def __init__(self, desk: Desk, trash: Trash) -> None:
        self.desk, self._trash = desk, trash
        self._renaming()
        self._converting()
        self._resizing()
        self._delete = gr.Button("Delete: move it to the trash", variant="stop", size="sm", elem_id="library-delete")
        self._delete.click(self._throw_away, {desk.chosen}, desk.outputs, **QUIET)
        names = [self._name, self._converted, self._resized]
        self.outputs = [*names, self._rename, self._delete, self._base]

    def show(self, item: Item) -> Updates:
        """Names to begin with."""
        return {
            self._name: gr.update(value=item.path.stem, interactive=item.own),
            self._rename: gr.update(interactive=item.own),
            self._converted: f"{item.path.stem}-kohya",
            self._resized: f"{item.path.stem}-small",
            self._delete: gr.update(interactive=item.own),
            self._base: gr.update(choices=[NO_BASE, *self.desk.engine.bases()]),
        }

    def _renaming(self) -> None:
        with gr.Row(elem_classes="line"):
            self._name = gr.Textbox(label="Name", scale=3, min_width=160, max_length=100)
            self._rename = gr.Button("Rename", size="sm", scale=1, min_width=90)
        event: dict[str, Any] = {"inputs": {self.desk.chosen, self._name}, "outputs": self.desk.outputs, **QUIET}
        gr.on([self._rename.click, self._name.submit], self._give_name, **event)

    def _converting(self) -> None:
        with gr.Accordion("Convert", open=False):
            self._converted = gr.Textbox(label="Name of the new file", max_length=100)
            with gr.Row():
                formats = [("Kohya: everybody reads it", "kohya"), ("diffusers", "diffusers")]
                self._format = gr.Dropdown(formats, value="kohya", label="Format", min_width=140)
                dtypes = [("as it is", "same"), *DTYPES]
                self._dtype = gr.Dropdown(dtypes, value="same", label="Precision", min_width=140)
            self._private = gr.Checkbox(label="Leave out file names, tags, captions and facts about the dataset")
            go = gr.Button("Convert", size="sm")
        fields = {self._converted, self._format, self._dtype, self._private}
        go.click(self._convert, {self.desk.chosen, *fields}, self.desk.outputs, **HEAVY)

    def _resizing(self) -> None:
        with gr.Accordion("Resize", open=False):
            self._resized = gr.Textbox(label="Name of the new file", max_length=100)
            with gr.Row():
                self._how = gr.Dropdown(list(LIMITS), value=RANK, label="How", scale=2, min_width=180)
                self._limit = gr.Number(LIMITS[RANK][2], label="Limit", min_width=90)
            self._base = gr.Dropdown([NO_BASE], value=NO_BASE, label="Base (for DoRA and others that need one)")
            go = gr.Button("Resize", size="sm")
        fields = {self._resized, self._how, self._limit, self._base}
        self._how.change(lambda how: LIMITS[how][2], self._how, self._limit, **QUIET)
        go.click(self._resize, {self.desk.chosen, *fields}, self.desk.outputs, **HEAVY)

    @one_sentence
    def _give_name(self, values: Values) -> Updates:
        item = self.desk.own(values)
        path = rename(item.path, values[self._name] or "")
        return self.desk.now(self.desk.id_of(path))

    @one_sentence
    def _convert(self, values: Values) -> Updates:
        item = self.desk.item(values)
        out = new_file(values[self._converted] or "", self.desk.engine.adapters_folder)
        dtype = None if values[self._dtype] == "same" else values[self._dtype]
        read = convert(item.path, out, format=values[self._format], dtype=dtype, private=values[self._private])
        says(f"{out.name} is written, {size_text(out.stat().st_size)}. {' '.join(read.report.sentences)}")
        return self.desk.now(self.desk.id_of(out))

    @one_sentence
    def _resize(self, values: Values) -> Updates:
        item = self.desk.item(values)
        out = new_file(values[self._resized] or "", self.desk.engine.adapters_folder)
        least, most, _ = LIMITS[values[self._how]]
        limit = values[self._limit]
        if limit is None or not least <= limit <= most:
            raise Error(f"The limit is {limit}: give {least} to {most}.")
        key = {RANK: "rank", KEEP: "keep", ERROR: "max_error"}[values[self._how]]
        given: dict[str, Any] = {key: int(limit) if key == "rank" else float(limit)}
        smaller, report = algebra.resize(library.load(item.path), base=self.desk.base(values[self._base]), **given)
        save_adapter(smaller, out)
        says(
            f"{out.name} has {size_text(out.stat().st_size)} instead of {size_text(item.listed.size)}; "
            f"its relative error is {report.relative:.2%}."
        )
        return self.desk.now(self.desk.id_of(out))

    @one_sentence
    def _throw_away(self, values: Values) -> Updates:
        item = self.desk.own(values)
        self._trash.add(item.path)
        says(f"{item.id} is in the trash: Restore below the cards brings it back.")
        return self.desk.now("")
