"""Share: what its maker says of an adapter, a weight from a sweep, chosen pictures; one zip of all of it."""

from collections.abc import Iterator
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from sdlora.adapters.collection import Item
from sdlora.adapters.formats.header import glance
from sdlora.adapters.told import training_facts
from sdlora.errors import Error
from sdlora.files import size_text
from sdlora.sampling.denoise import Cancelled
from sdlora.sampling.samplers import DEFAULT
from sdlora.sharing import Package, Story, make_package

from .. import text
from ..engine import MOST_WAITING
from ..job import Settings
from ..toast import warn
from . import samples
from .acting import HEAVY, NO_BASE, QUIET, Desk, Updates, Values, one_sentence
from .cards import shown
from .pictures import address, kit_file
from .samples import Sample

SWEEP = (0.4, 0.6, 0.8, 1.0, 1.2, 1.4)
LEAST, MOST = -1.0, 2.0  # of the recommended weight
MOST_SAMPLES = 36
# The hub's names for what people share adapters under.
LICENSES = [
    "creativeml-openrail-m",
    "openrail++",
    "cc-by-4.0",
    "cc-by-sa-4.0",
    "cc-by-nc-4.0",
    "cc0-1.0",
    "apache-2.0",
    "mit",
    "other",
]


class Sharing:
    """The fields, the pictures and the zip."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._samples = gr.State([])
        self._trigger = gr.Textbox(label="Trigger words")
        with gr.Row():
            self._license = gr.Dropdown(LICENSES, label="Licence", allow_custom_value=True, min_width=140)
            self._author = gr.Textbox(label="Author", min_width=140)
        self._description = gr.Textbox(label="Description", lines=2)
        self._weight = gr.Slider(
            LEAST, MOST, 1.0, step=0.05, label="Recommended weight", buttons=[], elem_id="share-weight"
        )
        with gr.Accordion("Draw a sweep, to see which weight is best", open=False, elem_id="sweep"):
            with gr.Row():
                self._prompt = gr.Textbox(label="Prompt of the sweep", scale=3, min_width=180)
                self._base = gr.Dropdown(["mini"], label="Base of the sweep", scale=2, min_width=140)
            with gr.Row():
                self._draw = gr.Button(f"Draw {len(SWEEP)} pictures", size="sm")
                self._stop = gr.Button("Stop the sweep", size="sm", interactive=False)
            self._status = gr.HTML(container=False, elem_classes="hint")
        self._gallery = gr.HTML(js_on_load=samples.ON_LOAD, container=False)
        with gr.Row():
            self._add = gr.UploadButton(
                "Add pictures of your own", file_types=["image"], file_count="multiple", size="sm", min_width=150
            )
            self._private = gr.Checkbox(
                label="Leave out facts about the dataset", container=False, min_width=200, elem_id="share-private"
            )
        self._zip = gr.HTML(container=False, elem_id="share-zip")
        self._make = gr.Button("Make the zip", variant="primary", elem_id="share-make")
        self._story = [self._trigger, self._weight, self._license, self._author, self._description, self._private]
        drawing = [self._prompt, self._base, self._status, self._gallery, self._samples, self._zip]
        self.outputs = [*self._story, *drawing]
        self._connect()

    def show(self, item: Item) -> Updates:
        """What the file and its notes say, to begin with."""
        stated = _stated(item)
        bases = self.desk.engine.bases()
        found = samples.drawn_with(item.path.stem, self.desk.engine.outputs)
        return {
            self._trigger: item.trigger,
            self._weight: min(max(LEAST, item.sidecar.weight or 1.0), MOST),
            self._license: stated.get("license"),
            self._author: stated.get("author", ""),
            self._description: item.sidecar.description or stated.get("description", ""),
            self._private: False,
            self._prompt: item.trigger or item.id,
            self._base: gr.update(choices=bases, value=self.desk.engine.base_name),
            self._status: "",
            self._samples: found,
            self._gallery: samples.gallery(found),
            self._zip: self._link(item),
        }

    def _connect(self) -> None:
        desk = self.desk
        sweep = self._draw.click(
            self._sweep,
            {desk.chosen, self._samples, self._prompt, self._base},
            [self._draw, self._stop, self._status, self._samples, self._gallery],
            concurrency_id="device",
            concurrency_limit=MOST_WAITING,
            **QUIET,
        )
        self._stop.click(self._stopped, None, [self._draw, self._stop, self._status], cancels=[sweep], **QUIET)
        picked = [self._samples, self._gallery]
        self._gallery.pick(self._pick, self._samples, picked, **QUIET)
        self._gallery.weigh(_weight_of, None, self._weight, **QUIET)
        self._add.upload(self._more, {self._samples, self._add, desk.changed}, [*picked, desk.changed], **QUIET)
        fields = {desk.chosen, self._samples, *self._story}
        self._make.click(self._package, fields, [self._zip, desk.changed], **HEAVY)

    def _sweep(self, values: Values) -> Iterator[Updates]:
        """The adapter at each weight, at one seed. Whoever leaves the page stops it."""
        found: list[Sample] = [sample for sample in values[self._samples] if sample.weight is None]
        yield {self._draw: gr.update(interactive=False), self._stop: gr.update(interactive=True)}
        try:
            item = self.desk.item(values)
            base = self.desk.base(values[self._base]) or NO_BASE
            usual = self.desk.engine.usual(base)
            for number, weight in enumerate(SWEEP):
                settings = Settings(
                    base, {item.id: weight}, values[self._prompt] or "", "", 1, usual.steps, usual.guidance,
                    DEFAULT, None, None,
                )  # fmt: skip
                job = self.desk.engine.start(settings)
                for progress in job.watch():
                    told = f"<p>weight {weight:g}, picture {number + 1} of {len(SWEEP)}</p>"
                    yield {self._status: told + text.progress_bar(progress)}
                found = [*found, Sample(job.result().path, weight=weight)]
                yield {self._samples: found, self._gallery: samples.gallery(found)}
            done = "Choose the weight that looks best, and press the pictures that shall go along."
        except Cancelled:
            done = "Stopped."
        except Error as problem:
            warn(problem)
            done = ""
        yield {self._status: text.note(done), **self._ready()}

    def _stopped(self) -> Updates:
        return {self._status: text.note("Stopped."), **self._ready()}

    def _ready(self) -> Updates:
        return {self._draw: gr.update(interactive=True), self._stop: gr.update(interactive=False)}

    def _pick(self, there: list[Sample], event: gr.EventData) -> Updates:
        number = event._data.get("sample")
        now = [replace(s, picked=not s.picked) if index == number else s for index, s in enumerate(there)]
        return {self._samples: now, self._gallery: samples.gallery(now)}

    @one_sentence
    def _more(self, values: Values) -> Updates:
        there, uploads = values[self._samples], values[self._add] or []
        if len(there) + len(uploads) > MOST_SAMPLES:
            raise Error(f"At most {MOST_SAMPLES} pictures can be chosen from.")
        now = [*there, *(Sample(Path(str(path)), picked=True) for path in uploads)]
        return {self._samples: now, self._gallery: samples.gallery(now)}

    @one_sentence
    def _package(self, values: Values) -> Updates:
        item = self.desk.item(values)
        trigger, weight, license, author, description, private = (values[field] for field in self._story)
        story = Story(
            (trigger or "").strip(), float(weight), (license or "").strip(), (author or "").strip(), description or "",
            private=bool(private),
        )  # fmt: skip
        chosen = [sample.path for sample in values[self._samples] if sample.picked]
        package = make_package(item.path, kit_file(self.desk.engine, item), story, chosen)
        return {self._zip: self._link(item, package)}

    def _link(self, item: Item, package: Package | None = None) -> str:
        """Where the zip can be downloaded, and what is in it; "" while there is none."""
        path = kit_file(self.desk.engine, item)
        if not path.is_file():
            return ""
        facts = path.stat()
        link = escape(address("kit", item, facts.st_mtime_ns))
        parts = [
            f'<a class="download" download href="{link}">Download {shown(path.name)} ({size_text(facts.st_size)})</a>'
        ]
        if package:
            parts.append(f'<p class="hint">In it: {shown(", ".join(package.files))}</p>')
            parts += [f'<p class="alert" role="note">{shown(_as_page(hint))}</p>' for hint in package.hints]
            parts += [f'<p class="alert" role="note">{shown(warning)}</p>' for warning in package.warnings]
        return "".join(parts)


def _weight_of(event: gr.EventData) -> float:
    weight: Any = event._data.get("weight")
    return float(weight) if isinstance(weight, int | float) and LEAST <= weight <= MOST else 1.0


def _stated(item: Item) -> dict[str, str]:
    try:
        return training_facts(glance(item.path)[1])
    except (Error, OSError):
        return {}


def _as_page(hint: str) -> str:
    """A hint of the command line's without its options."""
    return hint.split(": give")[0]
