"""What Generate offers while a training has the device: pause it, generate, go on."""

import time
from collections.abc import Iterator
from typing import Any

import gradio as gr

from sdlora.errors import Error

from . import text
from .engine import Taken
from .runs import Dispatcher

POLL = 0.5
PATIENCE = 600.0  # seconds that a run may take to save


class DeviceOffer:
    """A row that is seen when it is needed. `pause` is pressed to have the device for a while."""

    def __init__(self, runs: Dispatcher) -> None:
        self._runs = runs
        with gr.Row(visible=False, elem_id="device-offer") as self.box:
            self._said = gr.HTML(container=False)
            self.pause = gr.Button("Pause, generate, go on", variant="primary", size="sm", min_width=190, scale=0)
            self._leave = gr.Button("Not now", size="sm", min_width=90, scale=0)
        self.outputs = [self.box, self._said]
        self._leave.click(lambda: gr.Row(visible=False), None, self.box, show_progress="hidden", concurrency_limit=None)

    def show(self, refusal: Taken) -> dict[Any, Any]:
        """Updates that offer it."""
        said = f"{refusal.run} is being trained. It can save, make room for your pictures, and go on by itself."
        return {self.box: gr.Row(visible=True), self._said: text.note(said)}

    def hide(self) -> dict[Any, Any]:
        """Updates for when it was taken."""
        return {self.box: gr.Row(visible=False)}

    def borrow(self) -> Iterator[str]:
        """Sentences until the device is free. Raises `Error` where a run does not end."""
        began = time.monotonic()
        while (run := self._runs.holder()) is not None:
            self._runs.borrow()
            yield f"{run} saves what it has learned and makes room …"
            time.sleep(POLL)
            if time.monotonic() - began > PATIENCE:
                raise Error(f"{run} has not made room: look at its log on the Train page.")
        self._runs.borrow()
