"""The page that compares: a labelled sheet of pictures along two or three axes, all else being as on Mix."""

from collections.abc import Iterator
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr

from sdlora.errors import Error
from sdlora.mixing.like import read_likeness
from sdlora.mixing.png_info import read_parameters
from sdlora.mixing.xyz_drawing import Grid
from sdlora.sampling.denoise import Cancelled

from .. import text
from ..engine import MOST_WAITING, Engine
from ..job import Job
from ..mix.fields import Fields, Updates, Values
from ..mix.rows import mix_of
from ..mix.tagging import tag_of
from ..to_mix import ToMix, like_picture
from ..toast import warn, warn_of_a_mistake
from .axes import AxisMenu, written
from .drawing import start_grid

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


class ComparePage:
    """Builds the page inside the current `gr.Blocks`. `mix` are the fields of Mix, `tab` the tab that it is in."""

    def __init__(self, engine: Engine, blocks: gr.Blocks, to_mix: ToMix, mix: Fields, tab: gr.Tab) -> None:
        self._engine, self._mix, self._to_mix = engine, mix, to_mix
        self._jobs: dict[str, Job[Grid]] = {}
        self._cells = gr.State([])
        self._chosen = gr.State(None)
        self._about = gr.HTML(container=False, elem_id="compare-about")
        with gr.Group(elem_id="axes"):
            self._axes = [AxisMenu("Columns", "weight"), AxisMenu("Rows", "seed"), AxisMenu("Sheets", "")]
        with gr.Row(elem_id="compare-ready"):
            self._sweep = gr.Dropdown([], value=None, label="Ready-made: weight sweep of", min_width=200)
            self._trained = gr.Dropdown([], value=None, label="Ready-made: checkpoint × weight of", min_width=200)
        with gr.Row(elem_id="compare-go"):
            self._draw = gr.Button("Draw the grid", variant="primary", scale=3, min_width=160, elem_id="draw-grid")
            self._cancel = gr.Button("Cancel", interactive=False, scale=1, min_width=90, elem_id="cancel-grid")
        self._status = gr.HTML(container=False, elem_id="grid-status")
        self._sheet = gr.Image(
            type="filepath",
            interactive=False,
            show_label=False,
            label="The grid",
            visible=False,
            buttons=["download", "fullscreen"],
            elem_id="sheet",
        )
        self._pictures = gr.Gallery(
            label="Single pictures: choose one to send it to Mix",
            visible=False,
            interactive=False,
            allow_preview=False,
            columns=8,
            fit_columns=False,
            object_fit="cover",
            buttons=[],
            elem_id="cells",
        )
        with gr.Row(visible=False, elem_id="cell") as self._cell:
            self._parameters = gr.Textbox(label="Parameters", interactive=False, lines=2, buttons=["copy"])
            self._send = gr.Button("Use these settings in Mix", size="sm", scale=0, min_width=180)
        self._connect(blocks, tab)

    def _connect(self, blocks: gr.Blocks, tab: gr.Tab) -> None:
        menus = [part for axis in self._axes for part in (axis.kind, axis.of, axis.values)]
        mixed = {*self._mix.parts.values()}
        tab.select(self._open, {*mixed, *menus}, [self._about, self._sweep, self._trained, *menus], **QUIET)
        for axis in self._axes:
            axis.kind.input(
                lambda values, axis=axis: axis.chosen(values[axis.kind], self._names()),
                {axis.kind},
                [axis.of, axis.values],
                **QUIET,
            )
        self._sweep.input(self._on_sweep, {self._sweep}, menus, **QUIET)
        self._trained.input(self._on_trained, {self._trained}, menus, **QUIET)
        shown = [self._draw, self._cancel, self._status, self._sheet, self._pictures, self._cells, self._cell]
        self._draw.click(
            self._make,
            {*mixed, *menus},
            shown,
            concurrency_id="device",
            concurrency_limit=MOST_WAITING,
            **QUIET,
        )
        self._cancel.click(self._stop, None, None, concurrency_limit=None, **QUIET)
        self._pictures.select(self._look_at, self._cells, [self._cell, self._parameters, self._chosen], **QUIET)
        self._send.click(
            lambda path: self._to_mix.send(like_picture(read_likeness(path))),
            self._chosen,
            self._to_mix.outputs,
            **QUIET,
        )
        blocks.unload(self._stop)

    def _names(self) -> dict[str, list[str]]:
        return {"adapters": self._engine.adapters(), "runs": self._runs()}

    def _runs(self) -> list[str]:
        """Those that have checkpoints, the newest first."""
        files = (self._engine.workspace / "runs").glob("*/checkpoints/*")
        times: dict[str, float] = {}
        for file in files:
            run = file.parents[1].name
            times[run] = max(times.get(run, 0.0), file.stat().st_mtime)
        return sorted(times, key=lambda run: -times[run])

    def _open(self, values: Values) -> Updates:
        """The tab was opened: what Mix has now, and what there is to choose from."""
        names = self._names()
        updates: Updates = {
            self._about: self._said(values),
            self._sweep: gr.update(choices=names["adapters"]),
            self._trained: gr.update(choices=names["runs"], visible=bool(names["runs"])),
        }
        mixed = [row.get("name") for row in values[self._mix.parts["mix"]] or [] if row.get("on")]
        for axis in self._axes:
            if values[axis.kind] == "weight of an adapter":
                of = (
                    values[axis.of]
                    if values[axis.of] in names["adapters"]
                    else next(iter([*mixed, *names["adapters"]]), None)
                )
                updates[axis.of] = gr.update(choices=names["adapters"], value=of)
        return updates

    def _said(self, values: Values) -> str:
        parts = self._mix.parts
        try:
            tags = " ".join(str(tag_of(name, given)) for name, given in mix_of(values[parts["mix"]]).items())
        except Error:
            tags = ""
        prompt = escape(f"{values[parts['prompt']]} {tags}".strip()[:400])
        steps, guidance = values[parts["steps"]], values[parts["guidance"]]
        facts = f"seed {values[parts['seed']] or 0}, {steps:g} steps, guidance {guidance:g}"
        return f"<p>All else is as on Mix: <b>{prompt}</b><br>{escape(str(values[parts['base']]))}, {facts}</p>"

    def _on_sweep(self, values: Values) -> Updates:
        names = self._names()
        first, second, third = self._axes
        first_axis = first.set("weight", values[self._sweep], "0, 0.25, 0.5, 0.75, 1, 1.25, 1.5", names)
        return first_axis | second.set("seed", "", "1-3", names) | third.set("", "", "", names)

    def _on_trained(self, values: Values) -> Updates:
        names = self._names()
        first, second, third = self._axes
        first_axis = first.set("checkpoint", values[self._trained], "all", names)
        # of the adapter that the other axis puts in
        second_axis = second.set("weight", "", "0.5, 0.75, 1", names) | {second.of: gr.update(visible=True, value=None)}
        return first_axis | second_axis | third.set("", "", "", names)

    def _make(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        session = str(request.session_hash)
        outcome: Updates = {self._status: ""}
        yield {self._draw: gr.update(interactive=False), self._cancel: gr.update(interactive=True)}
        try:
            with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                job = self._jobs[session] = self._start(values, Path(folder))
                for progress in job.watch():
                    yield {self._status: text.progress_bar(progress)}
                outcome |= self._finished(job.result())
        except Cancelled:
            outcome[self._status] = text.note("Cancelled. What was drawn lies in outputs.")
        except Error as problem:
            warn(problem)
        except Exception:
            warn_of_a_mistake("drawing a grid")
        finally:
            self._jobs.pop(session, None)
        yield {self._draw: gr.update(interactive=True), self._cancel: gr.update(interactive=False), **outcome}

    def _start(self, values: Values, folder: Path) -> Job[Grid]:
        names = self._names()
        axes = [written(values[axis.kind], values[axis.of], values[axis.values] or "", **names) for axis in self._axes]
        return start_grid(self._engine, self._mix.settings(values), axes, folder)

    def _finished(self, grid: Grid) -> Updates:
        paths = [str(cell.path) for cell in grid.cells]
        return {
            self._sheet: gr.update(visible=True, value=str(grid.path)),
            self._pictures: gr.update(visible=True, value=paths),
            self._cells: paths,
            self._cell: gr.update(visible=False),
        }

    def _look_at(self, cells: list[str], event: gr.SelectData) -> Updates:
        path = cells[event.index]
        return {
            self._cell: gr.update(visible=True),
            self._parameters: read_parameters(path).text,
            self._chosen: path,
        }

    def _to_mix_with(self, path: str) -> list[Any]:
        return self._to_mix.send(like_picture(read_likeness(path)))

    def _stop(self, request: gr.Request) -> None:
        if job := self._jobs.get(str(request.session_hash)):
            job.cancel()
