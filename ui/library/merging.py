"""Several adapters become one: rows with weights, and how they are merged."""

from collections.abc import Callable

import gradio as gr

from sdlora import algebra
from sdlora.adapters import library, save_adapter
from sdlora.adapters.keeping import new_file
from sdlora.errors import Error
from sdlora.files import size_text

from .acting import DTYPES, HEAVY, NO_BASE, QUIET, Desk, Updates, Values, one_sentence, says
from .cards import shown

ROWS = 6  # fixed: Gradio resets what is rendered anew
METHODS = [
    ("exact: nothing is lost", "concat"),
    ("TIES: thinned out, signs elected", "ties"),
    ("DARE: thinned out", "dare"),
]


class Merging:
    """The rows, by the ids in `ids` (a list in the session's state), and the button."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.ids = gr.State([])
        with gr.Column(visible=False, elem_id="merge") as self._box:
            gr.HTML("<h3>Merge</h3>", container=False)
            self._rows = [self._row(number) for number in range(ROWS)]
            with gr.Row():
                self._name = gr.Textbox(label="Name of the new adapter", max_length=100, min_width=180, scale=2)
                self._method = gr.Dropdown(METHODS, value="concat", label="How", min_width=180, scale=2)
            with gr.Accordion("Smaller, or with a base", open=False):
                with gr.Row():
                    self._rank = gr.Number(None, label="Largest rank (empty: exact)", precision=0, min_width=120)
                    self._dtype = gr.Dropdown(DTYPES, value="fp16", label="Precision", min_width=120)
                self._base = gr.Dropdown([NO_BASE], value=NO_BASE, label="Base (for DoRA and others that need one)")
            with gr.Row():
                go = gr.Button("Merge", variant="primary", size="sm", elem_id="merge-go")
                clear = gr.Button("Clear", size="sm")
        parts = [part for row in self._rows for part in row[:3]]
        self.outputs = [self.ids, self._box, self._name, self._base, *parts]
        fields = {self.ids, self._name, self._method, self._rank, self._dtype, self._base}
        weights = {weight for _, _, weight, _ in self._rows}
        go.click(self._merge, fields | weights, desk.outputs, **HEAVY)
        clear.click(lambda: self._show([], {}), None, self.outputs, **QUIET)
        for number, (_, _, _, remove) in enumerate(self._rows):
            remove.click(self._without(number), {self.ids, *weights}, self.outputs, **QUIET)
        self.weights = weights

    def add(self, values: Values) -> Updates:
        """The chosen adapter into the next row; one that is there stays."""
        item, ids, weights = self.desk.item(values), values[self.ids], self._weights(values)
        if item.id in ids:
            return self._show(ids, weights)
        if len(ids) == ROWS:
            raise Error(f"{ROWS} adapters are merged at once: merge these first.")
        return self._show([*ids, item.id], weights | {item.id: item.sidecar.weight or 1.0})

    def _row(self, number: int) -> tuple[gr.Row, gr.HTML, gr.Number, gr.Button]:
        with gr.Row(visible=False, elem_classes="merge-row") as box:
            name = gr.HTML(container=False)
            weight = gr.Number(1.0, label=f"Weight of adapter {number + 1}", step=0.05, container=False, min_width=80)
            remove = gr.Button("Remove", size="sm", min_width=70, scale=0)
        return box, name, weight, remove

    def _weights(self, values: Values) -> dict[str, float]:
        pairs = zip(values[self.ids], self._rows, strict=False)
        return {id: values[row[2]] for id, row in pairs}

    def _without(self, number: int) -> Callable[[Values], Updates]:
        def remove(values: Values) -> Updates:
            ids = [id for index, id in enumerate(values[self.ids]) if index != number]
            return self._show(ids, self._weights(values))

        return remove

    def _show(self, ids: list[str], weights: dict[str, float]) -> Updates:
        updates: Updates = {
            self.ids: ids,
            self._box: gr.update(visible=bool(ids)),
            self._name: "+".join(ids)[:100],
            self._base: gr.update(choices=[NO_BASE, *self.desk.engine.bases()]),
        }
        for (box, name, weight, _), id in zip(self._rows, [*ids, *[None] * (ROWS - len(ids))], strict=True):
            updates[box] = gr.update(visible=id is not None)
            if id is not None:
                updates[name] = f"<b>{shown(id)}</b>"
                updates[weight] = gr.update(value=weights.get(id, 1.0), label=f"Weight of {id}")
        return updates

    @one_sentence
    def _merge(self, values: Values) -> Updates:
        ids, weights = values[self.ids], self._weights(values)
        if len(ids) < 2:
            raise Error("One adapter alone is not merged: choose another card and press Add to merge.")
        if missing := next((id for id in ids if weights[id] is None), None):
            raise Error(f"{missing} has no weight: give a number.")
        out = new_file(values[self._name] or "", self.desk.engine.adapters_folder)
        merged, report = algebra.merge(
            [library.load(self.desk.engine.library.path(id)) for id in ids],
            [float(weights[id]) for id in ids],
            rank=values[self._rank] or None,
            method=values[self._method],
            base=self.desk.base(values[self._base]),
        )
        save_adapter(merged, out, dtype=values[self._dtype])
        error = "nothing was lost" if report.relative < 1e-6 else f"its relative error is {report.relative:.2%}"
        says(f"{out.name} is merged of {len(ids)} adapters, {size_text(out.stat().st_size)}; {error}.")
        return self.desk.now(self.desk.id_of(out))
