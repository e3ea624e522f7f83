"""The part of the Train page that shows the queue and one of the runs, while it lives and afterwards."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr
import pandas as pd

from sdlora.errors import Error
from sdlora.training.checkpoints import Checkpoint

from .. import text
from ..runs import Dispatcher, outcomes
from ..runs.watching import Point, Standing, columns, curves, log_text, prompts, standing
from ..to_mix import ForMix, ToMix
from ..toast import warn
from . import html
from .images import Updates

EVERY = 1.5  # seconds between two looks
COLOURS = {"loss, smoothed": "#0d9488", "held-out loss": "#ea580c", "the same on training images": "#94a3b8"}
FEWEST_POINTS = 4  # of a curve that is one
MOST_EARLIER = 200


@dataclass(frozen=True)
class _Part:
    """A part of the page: `sign` tells whether it has changed, `update` makes what is sent to the page then."""

    sign: Any
    update: Callable[[], Any]


class Runs:
    """The queue, and the run that is looked at: `chosen` (a state) holds its name."""

    def __init__(self, dispatcher: Dispatcher, to_mix: ToMix) -> None:
        self._dispatcher, self._queue, self._to_mix = dispatcher, dispatcher.queue, to_mix
        self.chosen = gr.State("")
        self._seen = gr.State({})  # what this page shows, so that only what has changed is sent to it
        with gr.Row(elem_id="runs"):
            with gr.Column(scale=2, min_width=240):
                gr.HTML("<h2>Queue</h2>", container=False)
                self._list = gr.HTML(js_on_load=html.CLICKS, elem_id="queue", container=False)
                self._earlier = gr.Dropdown([], value=None, label="Look at a run", elem_id="earlier")
            with gr.Column(scale=7, min_width=300, elem_id="run"):
                self._detail()
        self.inputs = {self.chosen, self._seen}
        self._timer = gr.Timer(EVERY)

    def _detail(self) -> None:
        self._status = gr.HTML(elem_id="run-status", container=False)
        with gr.Row(elem_classes="tight", elem_id="run-actions"):
            small: dict[str, Any] = {"size": "sm", "min_width": 90, "visible": False}
            self._pause = gr.Button("Pause", **small)
            self._stop = gr.Button("Stop and keep", **small)
            self._resume = gr.Button("Resume", variant="primary", **small)
            self._try = gr.Button("Try it", variant="primary", elem_id="try-it", **small)
            self.again = gr.Button("Again with changes", **small)
        with gr.Row(elem_classes="tight", visible=False, elem_id="longer") as self._longer_row:
            self._more = gr.Number(100, label="More steps", precision=0, minimum=1, min_width=110, scale=0)
            self._longer = gr.Button("Train longer", size="sm", min_width=110, scale=0)
        self.note = gr.HTML(elem_id="run-note", container=False)
        self._grid = gr.HTML(js_on_load=html.CLICKS, elem_id="previews", container=False)
        self._large = gr.Image(
            label="Preview", show_label=False, interactive=False, visible=False, format="png", elem_id="preview-large"
        )
        self._plot = gr.LinePlot(
            x="step",
            y="loss",
            color="series",
            title="Loss",
            height=260,
            visible=False,
            color_map=COLOURS,
            tooltip="all",
            color_title=" ",
            elem_id="curve",
        )
        with gr.Accordion("Log", open=False):
            self._log = gr.Textbox(
                label="What the run says",
                show_label=False,
                lines=12,
                max_lines=12,
                interactive=False,
                autoscroll=True,
                elem_id="run-log",
            )
        self._live = {
            "list": self._list,
            "earlier": self._earlier,
            "status": self._status,
            "grid": self._grid,
            "plot": self._plot,
            "log": self._log,
            "longer": self._longer_row,
            "pause": self._pause,
            "stop": self._stop,
            "resume": self._resume,
            "try": self._try,
            "again": self.again,
        }
        self.outputs = [self.chosen, self._seen, self.note, self._large, *self._live.values()]

    def connect(self) -> None:
        """Buttons, and the look from time to time."""
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        here = self.inputs
        out = self.outputs
        self._timer.tick(self.look, here, out, concurrency_limit=16, **quiet)
        self._list.click(self._clicked, here, out, **quiet)
        self._earlier.input(self._choose, {*here, self._earlier}, out, **quiet)
        for button, ask in ((self._pause, self._queue.pause), (self._stop, self._stop_and_keep)):
            button.click(self._asking(ask), here, out, **quiet)
        self._resume.click(self._asking(self._queue.resume), here, out, **quiet)
        self._longer.click(self._train_longer, {*here, self._more}, out, **quiet)
        self._grid.click(self._picked, here, [*out, *self._to_mix.outputs], **quiet)
        self._try.click(self._try_it, here, [*out, *self._to_mix.outputs], **quiet)

    # --- looking ------------------------------------------------------------------------------------------------

    def look(self, values: Mapping[Any, Any], run: str | None = None) -> Updates:
        """All that has changed since this page looked last; at another run, where one is named."""
        known = self._queue.runs()
        chosen = run if run is not None else values[self.chosen]
        changed: Updates = {self._seen: gr.skip()}  # Gradio takes an empty dict for a value
        if chosen not in known:
            chosen = known[0] if known else ""
        if chosen != values[self.chosen]:
            changed |= {self.chosen: chosen, self.note: "", self._large: gr.update(visible=False)}
        parts = self._parts(chosen, known)
        seen = values[self._seen]
        news = {key: part for key, part in parts.items() if seen.get(key) != part.sign}
        if news:
            changed[self._seen] = {**seen, **{key: part.sign for key, part in news.items()}}
        return changed | {self._live[key]: part.update() for key, part in news.items()}

    def _parts(self, run: str, known: list[str]) -> dict[str, _Part]:
        under_way = [standing(self._queue, ticket.run) for ticket in self._queue.tickets()]
        now = next((one for one in under_way if one.run == run), standing(self._queue, run) if run else None)
        lines, state = html.queue(under_way, run), html.status(now)
        parts = {
            "list": _Part(lines, lambda: lines),
            "earlier": _Part((run, *known), lambda: gr.update(choices=known[:MOST_EARLIER], value=run or None)),
            "status": _Part(state, lambda: state),
        }
        if now is None:
            return parts
        return parts | self._run_parts(now) | self._buttons(now)

    def _run_parts(self, now: Standing) -> dict[str, _Part]:
        folder = self._queue.run_folder(now.run)
        points, steps = curves(folder), columns(folder)
        words = log_text(self._queue.log_file(now.run))
        grid = (now.run, *((one.step, len(one.pictures), one.keepable, one.best, one.kept) for one in steps))
        last = (now.run, len(points), points[-1].step if points else 0, points[0].step if points else 0)
        return {
            "grid": _Part(grid, lambda: html.previews(now.run, steps, prompts(folder)) if steps else ""),
            "plot": _Part(last, lambda: gr.update(visible=len(points) >= FEWEST_POINTS, value=_frame(points))),
            "log": _Part((now.run, len(words), words[-80:]), lambda: words),
        }

    def _buttons(self, now: Standing) -> dict[str, _Part]:
        ticket = self._queue.ticket(now.run)
        folder = self._queue.run_folder(now.run)
        seen = {
            "pause": now.doing in ("waiting", "preparing", "training") and ticket is not None,
            "stop": now.doing in ("preparing", "training", "paused") and ticket is not None,
            "resume": now.doing in ("paused", "stopped", "failed", "died"),
            "try": now.over and folder.adapter_file.is_file(),
            "again": folder.config_file.is_file() or self._queue.config_file(now.run).is_file(),
            "longer": now.doing in ("finished", "stopped") and bool(Checkpoint.steps(folder.checkpoints)),
        }
        return {key: _Part(shown, partial(gr.update, visible=shown)) for key, shown in seen.items()}

    # --- asking -------------------------------------------------------------------------------------------------

    def _asking(self, ask: Callable[[str], Any]) -> Callable[[Mapping[Any, Any]], Updates]:
        """An event's answer that asks something of the chosen run, then looks."""

        def asked(values: Mapping[Any, Any]) -> Updates:
            try:
                if values[self.chosen] in self._queue.runs():
                    ask(values[self.chosen])
            except Error as problem:
                warn(problem)
            return self.look(values)

        return asked

    def _stop_and_keep(self, run: str) -> None:
        """End it here; what it has learned becomes its adapter in the library."""
        ticket = self._queue.ticket(run)
        if ticket and ticket.state == "running":
            self._queue.stop(run)
            return
        self._queue.remove(run)
        outcomes.keep_what_was_asked(self._queue, run)

    def _choose(self, values: Mapping[Any, Any]) -> Updates:
        return self.look(values, values[self._earlier] or "")

    def _train_longer(self, values: Mapping[Any, Any]) -> Updates:
        return self._asking(lambda run: self._queue.longer(run, int(values[self._more] or 0)))(values)

    def _clicked(self, values: Mapping[Any, Any], event: gr.EventData) -> Updates:
        """A button in the queue."""
        told = event._data or {}
        run, do = str(told.get("run", "")), told.get("do")
        if run not in self._queue.runs():
            return self.look(values)
        if do == "open":
            return self.look(values, run)
        if do in ("up", "down"):
            self._queue.move(run, -1 if do == "up" else 1)
        elif do == "remove":
            self._queue.remove(run)
        return self.look(values)

    def _picked(self, values: Mapping[Any, Any], event: gr.EventData) -> Updates:
        """A button in the grid of previews: a picture to look at, a step to try or to keep."""
        told, run = event._data or {}, values[self.chosen]
        if run not in self._queue.runs():
            return self.look(values)
        try:
            if told.get("do") == "look":
                return {
                    self._large: gr.update(
                        visible=True, value=outcomes.picture(self._queue, run, str(told.get("file")))
                    )
                }
            step = int(told.get("step", 0))
            if told.get("do") == "keep":
                said = outcomes.keep_step(self._queue, run, step)
                return self.look(values) | {self.note: text.note(said)}
            if told.get("do") == "try":
                return self._to_mix_with(run, outcomes.adapter_of_step(self._queue, run, step))
        except (Error, ValueError) as problem:
            warn(problem)
        return self.look(values)

    def _try_it(self, values: Mapping[Any, Any]) -> Updates:
        run = values[self.chosen]
        try:
            return self._to_mix_with(run, outcomes.adapter_of_run(self._queue, run))
        except Error as problem:
            warn(problem)
            return self.look(values)

    def _to_mix_with(self, run: str, adapter: str) -> Updates:
        config = self._queue.run_folder(run).config()
        prompt = next(iter(prompts(self._queue.run_folder(run)).values()), None)
        settings = ForMix(base=config.base, prompt=prompt, mix={adapter: 1.0}, words=config.trigger or "")
        return dict(zip(self._to_mix.outputs, self._to_mix.send(settings), strict=True))


def _frame(points: Sequence[Point]) -> pd.DataFrame:
    return pd.DataFrame([vars(point) for point in points], columns=["step", "loss", "series"])
