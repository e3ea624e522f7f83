"""The page on which pictures are made: base, prompt, adapters, and what comes of them."""

import logging
import secrets
from collections.abc import Iterator
from html import escape
from typing import Any

import gradio as gr
from PIL import Image

from sdlora.errors import Error
from sdlora.sampling.denoise import Cancelled
from sdlora.sampling.samplers import DEFAULT, SAMPLERS

from . import text
from .adapter_rows import AdapterRows, Values
from .engine import Engine
from .job import LARGEST_SEED, MOST_STEPS, Job, Picture, Settings
from .to_mix import ToMix

HISTORY = 24  # pictures of a session that stay in sight
WAITING = 16  # jobs that may wait for the device or be drawn; more wait in Gradio's own queue
Updates = dict[Any, Any]

log = logging.getLogger(__name__)


class MixPage:
    """Builds the page inside the current `gr.Blocks`, and answers its buttons."""

    def __init__(self, engine: Engine, blocks: gr.Blocks, to_mix: ToMix) -> None:
        self._engine = engine
        self._jobs: dict[str, Job[Picture]] = {}  # by browser session
        self._history = gr.State([])  # the session's pictures, newest first
        with gr.Row(elem_id="mix"):
            with gr.Column(scale=5, min_width=300):
                self._subject()
                self._adapters = AdapterRows(engine)
                self._sampling()
            with gr.Column(scale=6, min_width=300, elem_id="result"):
                self._result()
        self._connect(blocks)

    def _subject(self) -> None:
        with gr.Group():
            self._base = gr.Dropdown(
                ["mini"],
                value="mini",
                label="Base",
                info=None if self._engine.listed_bases_only else "or type a hub id, a folder or a checkpoint file",
                allow_custom_value=not self._engine.listed_bases_only,
                elem_id="base",
            )
            self._prompt = gr.Textbox("red apple", label="Prompt", lines=2, elem_id="prompt")
            self._negative = gr.Textbox(label="Negative prompt", lines=1, elem_id="negative")

    def _sampling(self) -> None:
        with gr.Group(elem_id="sampling"):
            with gr.Row():
                self._steps = gr.Slider(1, MOST_STEPS, 25, step=1, label="Steps", min_width=180, buttons=[])
                self._guidance = gr.Slider(1, 20, 4, step=0.5, label="Guidance", min_width=180, buttons=[])
            with gr.Row():
                self._width = gr.Number(None, label="Width", precision=0, min_width=70, elem_id="width", step=64)
                self._height = gr.Number(None, label="Height", precision=0, min_width=70, elem_id="height", step=64)
                self._sampler = gr.Dropdown(list(SAMPLERS), value=DEFAULT, label="Sampler", scale=2, min_width=200)
            self._dice = gr.Button("New seed", render=False)
            self._seed = gr.Number(
                1, label="Seed", precision=0, placeholder="random", buttons=[self._dice], elem_id="seed"
            )

    def _result(self) -> None:
        with gr.Row(elem_id="go"):
            self._generate = gr.Button("Generate", variant="primary", scale=2, min_width=160, elem_id="generate")
            self._cancel = gr.Button("Cancel", interactive=False, scale=1, min_width=90, elem_id="cancel")
        self._status = gr.HTML(container=False, elem_id="status")
        self._picture = gr.Image(
            type="filepath",
            interactive=False,
            label="Picture",
            show_label=False,
            buttons=["download", "fullscreen"],
            elem_id="picture",
        )
        self._parameters = gr.Textbox(
            label="Parameters (they are in the PNG file too)",
            interactive=False,
            visible=False,
            lines=2,
            buttons=["copy"],
            elem_id="parameters",
        )
        self._gallery = gr.Gallery(
            label="Pictures of this session",
            show_label=False,
            visible=False,
            interactive=False,
            allow_preview=False,
            columns=6,
            fit_columns=False,
            object_fit="cover",
            buttons=[],
            elem_id="gallery",
        )

    def _connect(self, blocks: gr.Blocks) -> None:
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        fields = {self._base, self._prompt, self._negative, self._seed, self._steps, self._guidance, self._sampler}
        fields |= {self._width, self._height, self._history, *self._adapters.inputs}
        usual = [self._steps, self._guidance, self._width, self._height, self._status]
        blocks.load(self._open, self._adapters.inputs, [self._base, *usual, *self._adapters.outputs], **quiet)
        self._base.input(self._choose_base, self._base, usual, **quiet)
        self._dice.click(lambda: secrets.randbelow(LARGEST_SEED + 1), None, self._seed, **quiet)
        self._generate.click(
            self._make,
            fields,
            [
                self._generate,
                self._cancel,
                self._status,
                self._picture,
                self._parameters,
                self._gallery,
                self._history,
            ],
            concurrency_id="device",
            concurrency_limit=WAITING,
            **quiet,
        )
        self._cancel.click(self._stop, None, None, queue=False, **quiet)
        self._gallery.select(self._look_at, self._history, [self._picture, self._parameters], **quiet)
        blocks.unload(self._stop)

    def _open(self, values: Values) -> Updates:
        """A page has been opened or loaded again: what is in the workspace now, on the base that is at hand."""
        name = self._engine.base_name
        updates = {self._base: gr.update(choices=self._engine.bases(), value=name), **self._adapters.scan(values)}
        return updates | self._usual(name)

    def _choose_base(self, name: str) -> Iterator[Updates]:
        yield {self._status: text.note(f"Loading {name} …")}
        yield self._usual(name)

    def _usual(self, base: str) -> Updates:
        """The base's own settings; a base that can't be loaded says why and leaves the fields alone."""
        try:
            usual = self._engine.usual(base)
        except Error as problem:
            warn(problem)
            return {self._status: ""}
        return {
            self._steps: usual.steps,
            self._guidance: usual.guidance,
            self._width: usual.side,
            self._height: usual.side,
            self._status: "",
        }

    def _make(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        """From Generate to a picture: progress as it comes, then the picture, or one sentence why there is none."""
        session = str(request.session_hash)
        outcome: Updates = {self._status: ""}
        shown: Image.Image | None = None
        yield {self._generate: gr.update(interactive=False), self._cancel: gr.update(interactive=True)}
        try:
            job = self._jobs[session] = self._engine.start(self._settings(values))
            for progress in job.watch():
                updates: Updates = {self._status: text.progress_bar(progress)}
                if progress.preview is not shown:
                    shown = updates[self._picture] = progress.preview
                yield updates
            outcome |= self._finished([job.result(), *values[self._history]][:HISTORY])
        except Cancelled:
            outcome[self._status] = text.note("Cancelled.")
        except Error as problem:
            warn(problem)
        except Exception:
            log.exception("Generate failed")
            warn("Something went wrong inside sdlora; the terminal in which it runs shows the details.")
        finally:
            self._jobs.pop(session, None)
        if shown and self._picture not in outcome:  # the preview of a picture that will never be
            outcome |= self._finished(values[self._history])
        yield {self._generate: gr.update(interactive=True), self._cancel: gr.update(interactive=False), **outcome}

    def _settings(self, values: Values) -> Settings:
        return Settings(
            base=(values[self._base] or "").strip(),
            mix=self._adapters.mix(values),
            prompt=values[self._prompt] or "",
            negative=values[self._negative] or "",
            seed=values[self._seed],
            steps=int(values[self._steps]),
            guidance=float(values[self._guidance]),
            sampler=values[self._sampler],
            width=values[self._width],
            height=values[self._height],
        )

    def _finished(self, history: list[Any]) -> Updates:
        if not history:
            return {self._picture: None}
        paths = [str(picture.path) for picture in history]
        return {
            self._picture: paths[0],
            self._parameters: gr.update(visible=True, value=history[0].parameters),
            self._gallery: gr.update(visible=len(paths) > 1, value=paths),
            self._history: history,
        }

    def _look_at(self, history: list[Any], event: gr.SelectData) -> tuple[str, str]:
        chosen = history[event.index]
        return str(chosen.path), chosen.parameters

    def _stop(self, request: gr.Request) -> None:
        """Cancel was pressed, or the page was closed."""
        if job := self._jobs.get(str(request.session_hash)):
            job.cancel()


def warn(problem: object) -> None:
    """One sentence that stays for a while. Gradio would render HTML in it."""
    gr.Warning(escape(str(problem)), duration=12)
