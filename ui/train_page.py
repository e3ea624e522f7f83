"""The page on which adapters are trained: images, captions and settings on its first half, the runs on the other."""

from collections.abc import Iterator, Mapping
from typing import Any

import gradio as gr

from sdlora.errors import Error
from sdlora.training.config import TrainConfig, read_toml

from . import text
from .datasets import Shelf
from .engine import Engine
from .to_mix import ToMix
from .toast import warn
from .train.captions import Captions
from .train.estimate import estimate
from .train.images import Images, Updates
from .train.measuring import measured
from .train.runs import Runs
from .train.settings import Settings

NOT_AGAIN = ("workspace", "holdout")
CHECKPOINTS = 8  # kept where nobody says otherwise, so that each step with pictures can be tried
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


class TrainPage:
    """Builds the page inside the current `gr.Blocks`, and answers its buttons."""

    def __init__(self, engine: Engine, blocks: gr.Blocks, to_mix: ToMix) -> None:
        self._engine, self._queue = engine, engine.runs.queue
        self._shelf = Shelf(engine.workspace)
        self._remembered = gr.BrowserState({"images": "", "run": ""}, storage_key="sdlora-train", secret="sdlora")
        with gr.Tabs(selected="new", elem_id="train-tabs") as self._tabs:
            with gr.Tab("New training", id="new"), gr.Row(elem_id="train"):
                with gr.Column(scale=6, min_width=300):
                    gr.HTML("<h2>Images</h2>", container=False)
                    self._images = Images(self._shelf)
                    self._captions = Captions(self._shelf, engine.workspace / "captioners", engine.on_device)
                with gr.Column(scale=5, min_width=300):
                    gr.HTML("<h2>Settings</h2>", container=False)
                    self._settings = Settings()
                    self._estimate = gr.HTML(elem_id="estimate", container=False)
                    self._measure = gr.Button("Measure one step", size="sm", elem_id="measure")
                    self._note = gr.HTML(container=False)
                    self._start = gr.Button("Start", variant="primary", elem_id="start")
            with gr.Tab("Runs", id="runs"):
                self._runs = Runs(engine.runs, to_mix)
        self._connect(blocks)

    def _connect(self, blocks: gr.Blocks) -> None:
        images, runs, settings = self._images, self._runs, self._settings
        images.connect(self._follow)
        self._captions.connect(images.chosen, settings.parts["trigger"], self._follow)
        images.again.click(images.look, self._doctor_inputs, images.report_outputs, **QUIET)
        self._follow(images.fix.click(images.mend, self._doctor_inputs, images.outputs, **QUIET))
        for key in ("steps", "resolution", "preset", "batch_size", "epochs"):
            settings.parts[key].blur(self._foresee, self._form, self._estimate, **QUIET)
        base, preset = settings.parts["base"], settings.parts["preset"]
        base.input(self._choose_base, self._form, [base, preset, self._estimate], **QUIET)
        self._measure.click(
            self._measured,
            self._form,
            [self._measure, self._estimate],
            concurrency_id="measure",
            concurrency_limit=2,
            **QUIET,
        )
        started = self._start.click(
            self._begin, {*self._form, runs.chosen}, [self._tabs, runs.chosen, self._note], **QUIET
        )
        started.then(runs.look, runs.inputs, runs.outputs, **QUIET)
        runs.connect()
        filled = [self._tabs, *images.outputs, *settings.inputs]
        self._follow(runs.again.click(self._again, {runs.chosen, images.chosen}, filled, **QUIET))
        opened = [*images.outputs, base, preset, *self._captions.choice_outputs, runs.chosen]
        self._follow(blocks.load(self._open, {self._remembered, base}, opened, **QUIET))
        for state in (images.chosen, runs.chosen):
            state.change(_remember, [images.chosen, runs.chosen], self._remembered, **QUIET)

    def _follow(self, event: Any) -> None:
        """After an event that chose other images: what the doctor says, the captions, and what it will take."""
        images, captions = self._images, self._captions
        looked = event.then(images.look, self._doctor_inputs, images.report_outputs, **QUIET)
        shown = looked.then(captions.show, images.chosen, captions.outputs, **QUIET)
        shown.then(self._foresee, self._form, self._estimate, **QUIET)

    @property
    def _form(self) -> set[Any]:
        return {self._images.chosen, *self._settings.inputs}

    @property
    def _doctor_inputs(self) -> list[Any]:
        return [self._images.chosen, *(self._settings.parts[key] for key in ("base", "trigger", "resolution"))]

    def _open(self, values: Mapping[Any, Any]) -> Updates:
        """The page has been opened or loaded again: what it showed last, as far as it is still there."""
        remembered = values[self._remembered] or {}
        run = str(remembered.get("run") or "")
        return {
            **self._images.show(str(remembered.get("images") or "")),
            **self._settings.open(self._engine.groups(), values[self._settings.parts["base"]]),
            **self._captions.choices(),
            self._runs.chosen: run if run in self._queue.runs() else "",
        }

    def _choose_base(self, values: Mapping[Any, Any]) -> Updates:
        base = values[self._settings.parts["base"]]
        return {**self._settings.open(self._engine.groups(), base), self._estimate: self._foreseen(values)}

    def _foresee(self, values: Mapping[Any, Any]) -> Updates:
        return {self._estimate: self._foreseen(values)}

    def _foreseen(self, values: Mapping[Any, Any]) -> str:
        """Steps, time and memory; what is still missing where they can't be told."""
        report = self._images.reports.get(values[self._images.chosen])
        if report is None:
            return text.note("Choose images to see how long it will take.")
        try:
            config = self._settings.read({**values, self._settings.parts["name"]: "estimate"}, images="images")
            group = self._engine.groups().get(config.base, "")
            folders = (self._queue.run_folder(run) for run in self._queue.runs())
            said = estimate(config, group, report, folders, self._engine.on_gpu).sentences
        except Error as problem:
            return text.note(str(problem))
        if not (config.trigger or report.captions.captioned):
            said.append("The images have no captions: give a trigger word, which then stands in for them.")
        return text.note(" ".join(said))

    def _measured(self, values: Mapping[Any, Any]) -> Iterator[Updates]:
        """The estimate, with one real step measured."""
        yield {self._measure: gr.update(interactive=False), self._estimate: text.note("One real step is made …")}
        said = ""
        try:
            config = self._config(values, name="estimate")
            said = self._engine.on_device(lambda: measured(config))
        except Error as problem:
            warn(problem)
        yield {
            self._measure: gr.update(interactive=True),
            self._estimate: text.note(said) if said else self._foreseen(values),
        }

    def _config(self, values: Mapping[Any, Any], **given: Any) -> TrainConfig:
        """What the page asks for. Raises `Error` for what is missing or can't be."""
        if not values[self._images.chosen]:
            raise Error("There are no images yet: drop some, or choose some that are here.")
        dataset = self._shelf.get(values[self._images.chosen])
        given = {"images": str(dataset.folder.resolve()), "workspace": str(self._engine.workspace), **given}
        config = self._settings.read(values, **given)
        if config.base not in self._engine.groups():
            raise Error(f"There is no base {config.base!r} on this computer: pick one from the list.")
        return config

    def _begin(self, values: Mapping[Any, Any]) -> Updates:
        """Start was pressed: the run is put into the queue, and looked at."""
        try:
            config = self._config(values)
            if "keep_checkpoints" not in config.model_fields_set:
                config = config.model_copy(update={"keep_checkpoints": CHECKPOINTS})
            ticket = self._queue.add(config)
        except Error as problem:
            warn(problem)
            return {self._note: ""}
        return {self._tabs: gr.Tabs(selected="runs"), self._runs.chosen: ticket.run, self._note: ""}

    def _again(self, values: Mapping[Any, Any]) -> Updates:
        """The form with what the run was asked for."""
        run = values[self._runs.chosen]
        try:
            folder = self._queue.run_folder(run) if run in self._queue.runs() else None
            if folder is None:
                raise Error("This run is no longer there.")
            begun = folder.config_file.is_file()
            asked = folder.asked() if begun else read_toml(self._queue.config_file(run))
            config = TrainConfig(**{key: value for key, value in asked.items() if key not in NOT_AGAIN})
            if lost := sorted(key for key in ("class_images", "trackers") if getattr(config, key)):
                warn(Error(f"This page has no field for {' and '.join(lost)}: a run that is begun here goes without."))
        except Error as problem:
            warn(problem)
            return {self._tabs: gr.Tabs(selected="runs")}
        return {
            self._tabs: gr.Tabs(selected="new"),
            **self._images.show(self._shelf.id_of(config.images)),
            **self._settings.fill(config),
        }


def _remember(images: str, run: str) -> dict[str, str]:
    return {"images": images, "run": run}
