"""A line above the pages while a training has the device: what Mix's base made room for, and how long it takes."""

from typing import Any

import gradio as gr

from . import text
from .runs import Dispatcher
from .runs.watching import standing

EVERY = 2.0  # seconds between two looks


class DeviceBanner:
    """Not seen while nothing is trained."""

    def __init__(self, runs: Dispatcher, blocks: gr.Blocks) -> None:
        self._runs = runs
        self._seen = gr.State("")
        self._line = gr.HTML(visible=False, container=False, elem_id="device-banner")
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        out = [self._line, self._seen]
        gr.Timer(EVERY).tick(self._look, self._seen, out, concurrency_limit=16, **quiet)
        blocks.load(self._look, self._seen, out, **quiet)

    def _look(self, seen: str) -> Any:
        line = self._text()
        return (gr.skip(), gr.skip()) if line == seen else (gr.update(visible=bool(line), value=line), line)

    def _text(self) -> str:
        run = self._runs.holder()
        if run is None:
            if self._runs.queue.lent() and (waiting := self._runs.queue.waiting()):
                return text.note(f"{waiting.run} waits while you generate, and goes on by itself afterwards.")
            return ""
        now = standing(self._runs.queue, run)
        said = f"{run} is being trained"
        said += f", step {now.step} of {now.steps}" if now.step else ""
        said += f", {text.duration(now.seconds_left)} left" if now.seconds_left is not None else ""
        return text.note(f"{said}. Mix has moved its base off the device for it.")
