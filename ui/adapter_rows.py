"""The workspace's adapters as rows: on/off, name, trigger words, weight."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import gradio as gr

from . import text
from .engine import Engine

ROWS = 8  # fixed: Gradio resets sliders that are rendered anew
Values = Mapping[Any, Any]  # component: what is in it


class _Row(NamedTuple):
    box: gr.Row
    on: gr.Checkbox
    weight: gr.Slider
    trigger: gr.HTML


class AdapterRows:
    """A fixed number of rows, of which as many are seen as there are adapters to show.

    The sliders and check boxes hold the weights; `names` (a list in the session's state) says whose they are.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.names = gr.State([])
        with gr.Column(elem_id="adapters"):
            with gr.Row(elem_classes="heading"):
                gr.HTML("<h2>Adapters</h2>", container=False)
                self._refresh = gr.Button("Refresh", size="sm", scale=0, min_width=90)
            self._hint = gr.HTML(visible=False)
            self._chooser = gr.Dropdown(multiselect=True, max_choices=ROWS, visible=False)
            self._rows = [self._row() for _ in range(ROWS)]
        self.inputs = {self.names, *(part for row in self._rows for part in (row.on, row.weight))}
        self.outputs = [self.names, self._hint, self._chooser, *(part for row in self._rows for part in row)]
        self._connect()

    def mix(self, values: Values) -> dict[str, float]:
        """{name: weight} of the rows that are on."""
        rows = zip(values[self.names], self._rows, strict=False)
        return {name: float(values[row.weight]) for name, row in rows if values[row.on]}

    def scan(self, values: Values) -> dict[Any, Any]:
        """Look into the folder again: what is shown stays, as long as there is a file of that name."""
        there = self._engine.adapters()
        kept = [name for name in values[self.names] if name in there]
        return self._show([*kept, *(name for name in there if name not in kept)][:ROWS], there, values)

    def _choose(self, values: Values) -> dict[Any, Any]:
        there = self._engine.adapters()
        return self._show([name for name in values[self._chooser] if name in there], there, values)

    def _show(self, names: Sequence[str], there: Sequence[str], values: Values) -> dict[Any, Any]:
        """Updates that put `names` into the rows, with the settings that they had."""
        rows = zip(values[self.names], self._rows, strict=False)
        had = {name: (values[row.on], values[row.weight]) for name, row in rows}
        updates: dict[Any, Any] = {
            self.names: list(names),
            self._hint: gr.update(visible=not there, value=text.no_adapters_yet(self._engine.adapters_folder)),
            self._chooser: gr.update(
                visible=len(there) > ROWS,
                choices=there,
                value=list(names),
                label=f"{len(names)} of {len(there)} are shown: choose up to {ROWS}",
            ),
        }
        for row, name in zip(self._rows, [*names, *[None] * (ROWS - len(names))], strict=True):
            updates[row.box] = gr.update(visible=name is not None)
            if name is not None:
                on, weight = had.get(name, (False, 1.0))
                updates[row.on] = gr.update(label=name, value=on)
                updates[row.weight] = gr.update(label=f"Weight of {name}", value=weight)
                updates[row.trigger] = text.trigger_words(self._engine.trigger(name))
        return updates

    def _row(self) -> _Row:
        with gr.Row(visible=False, elem_classes="adapter") as box:
            with gr.Column(scale=2, min_width=150):
                on = gr.Checkbox(label="", container=False)
                trigger = gr.HTML(container=False, elem_classes="trigger")
            weight = gr.Slider(-1, 2, 1.0, step=0.05, container=False, scale=3, min_width=200, buttons=[])
        return _Row(box, on, weight, trigger)

    def _connect(self) -> None:
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        self._refresh.click(self.scan, self.inputs, self.outputs, **quiet)
        self._chooser.input(self._choose, {*self.inputs, self._chooser}, self.outputs, **quiet)
        for row in self._rows:
            # In the browser alone, so that it is on before Generate can be pressed.
            row.weight.input(None, None, row.on, js="() => true", **quiet)
