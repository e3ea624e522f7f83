"""The page on which pictures are made: base, prompt, adapters, and what comes of them."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gradio as gr

from sdlora.errors import Error
from sdlora.mixing.like import read_likeness
from sdlora.pictures import open_picture
from sdlora.resources import SAMPLE_ADAPTERS

from .. import text
from ..device_offer import DeviceOffer
from ..engine import MOST_WAITING, Engine, Taken
from ..job import LARGEST_SEED, Picture, Settings
from ..to_mix import ForMix, ToMix, like_picture
from ..toast import warn
from .absorb import absorb, known
from .browser import BEGIN, KEEP, RESTORE
from .downloads import downloaded
from .drawing import Drawing
from .fields import MOST_PICTURES, Fields, Updates, Values
from .keeping import Keeping
from .opening import fresh, read_kept, still_there
from .result import Result

DRAFT_STEPS = 8
VARIATIONS, VARIED = 4, 0.6  # pictures of a press of Vary, and how much of the picture is drawn anew in them
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
DEVICE: dict[str, Any] = {"concurrency_id": "device", "concurrency_limit": MOST_WAITING, **QUIET}


class MixPage:
    """Builds the page inside the current `gr.Blocks`, and answers its buttons."""

    def __init__(self, engine: Engine, blocks: gr.Blocks, to_mix: ToMix) -> None:
        self._engine, self._to_mix = engine, to_mix
        self._restored = gr.Textbox(visible=False)
        self._before = gr.State(None)  # the fields as they were before a prompt was taken apart
        self._plain = gr.State("")  # the prompt that shall be left as it is: somebody has pressed Undo
        with gr.Row(elem_id="mix"):
            with gr.Column(scale=5, min_width=300):
                self.fields = Fields(engine)
                with gr.Row(visible=False, elem_id="absorbed") as self._absorbed:
                    self._told = gr.HTML(container=False)
                    self._undo = gr.Button("Undo", size="sm", scale=0, min_width=70, elem_id="undo")
                self.fields.frame()
                self._keeping = Keeping(engine, self.fields)
                with gr.Row(elem_id="own-style"):
                    gr.HTML(text.OWN_STYLE, container=False)
                    self._train = gr.Button("Train a style", size="sm", scale=0, min_width=120)
            with gr.Column(scale=6, min_width=300, elem_id="result"):
                self._offer = DeviceOffer(engine.runs)
                self._result = Result()
        self._drawing = Drawing(engine, self._result, self._offer)
        self._connect(blocks)

    def _connect(self, blocks: gr.Blocks) -> None:
        fields, result, parts = self.fields, self._result, self.fields.parts
        everything = list(parts.values())
        inputs = {*everything, self._plain, result.history, result.shown, result.live}
        notes = [self._absorbed, self._told, self._before, self._plain]
        usual = [parts[name] for name in ("steps", "guidance", "width", "height")]
        blocks.load(
            self._open, self._restored, [*everything, *result.outputs, self._keeping.saved], js=RESTORE, **QUIET
        ).then(None, None, None, js=BEGIN, **QUIET)
        gr.on(
            [*(part.change for part in everything), result.gallery.change],
            None,
            [*everything, result.gallery],
            None,
            js=KEEP,
            **QUIET,
        )
        parts["base"].input(
            self._choose_base, {parts["base"], parts["mix"]}, [*usual, parts["mix"], result.status], **QUIET
        )
        parts["prompt"].blur(self._absorb, inputs, [*everything, *notes], **QUIET)
        self._undo.click(self._take_back, self._before, [*everything, *notes], **QUIET)
        fields.dice.click(
            None, None, parts["seed"], js=f"() => Math.floor(Math.random() * {LARGEST_SEED + 1})", **QUIET
        )
        drawn = [*result.outputs, *self._offer.outputs]
        result.generate.click(self._make, inputs, [*everything, *notes, *drawn], **DEVICE)
        self._offer.pause.click(self._borrow, inputs, [*everything, *notes, *drawn], **DEVICE)
        result.vary.click(self._vary, inputs, drawn, **DEVICE)
        result.compare.click(self._compare, inputs, drawn, **DEVICE)
        fields.rows.mix.release(self._live, inputs, result.outputs, trigger_mode="multiple", **DEVICE)
        result.cancel.click(self._stop, None, None, concurrency_limit=None, **QUIET)
        result.gallery.select(self._look_at, result.history, result.outputs, **QUIET)
        result.use.click(self._use, inputs, everything, **QUIET)
        self._keeping.connect({*inputs}, [*everything, *notes], self._fill)
        self._train.click(lambda: gr.Tabs(selected="train"), None, self._to_mix.outputs[1], **QUIET)
        self._to_mix.state.change(self._receive, {self._to_mix.state, *inputs}, everything, **QUIET)
        blocks.unload(self._stop)

    # Opening

    def _open(self, restored: str) -> Updates:
        """A page has been opened or loaded again: what was in this tab, or the two newest adapters."""
        parts, bases = self.fields.parts, self._engine.bases()
        kept = read_kept(restored, list(self.fields.parts))
        base = kept["base"] if kept and kept["base"] in bases else self._engine.base_name
        found = (kept or fresh(self._engine)) | {"base": gr.update(choices=bases, value=base)}
        updates = self.fields.updates({name: value for name, value in found.items() if name in parts})
        if not kept:
            updates |= self._usual(base)
        pictures = still_there(kept["pictures"], self._engine.outputs) if kept else []
        return (
            updates | self._result.finished(pictures) | {self._keeping.saved: gr.update(choices=self._keeping.names())}
        )

    def _choose_base(self, values: Values) -> Iterator[Updates]:
        """Load it, telling how far a download is. The samples are mini's: they are turned off on any other base."""
        name = (values[self.fields.parts["base"]] or "").strip()
        had = downloaded(name)
        try:
            loading = self._engine.usual_later(name)
            while not loading.done():
                more = downloaded(name) - had
                note = f"Downloading {name}: {more / 1e6:.0f} MB so far" if more > 0 else f"Loading {name} …"
                yield {self._result.status: text.note(note)}
                time.sleep(0.5)
        except Error as problem:
            warn(problem)
            yield {self._result.status: ""}
            return
        rows = values[self.fields.parts["mix"]] or []
        samples = {file.stem for file in SAMPLE_ADAPTERS.glob("*.safetensors")} if name != "mini" else set()
        mix = [row | {"on": False} if row.get("name") in samples else row for row in rows]
        yield self._usual(name) | ({self.fields.parts["mix"]: mix} if mix != rows else {})

    def _usual(self, base: str) -> Updates:
        """The base's own settings; a base that can't be loaded says why and leaves the fields alone."""
        try:
            usual = self._engine.usual(base)
        except Taken:  # by a training: then the fields stay as they are
            return {self._result.status: ""}
        except Error as problem:
            warn(problem)
            return {self._result.status: ""}
        named = {"steps": usual.steps, "guidance": usual.guidance, "width": usual.side, "height": usual.side}
        return self.fields.updates(named) | {self._result.status: ""}

    # Taking a prompt apart

    def _absorb(self, values: Values) -> Updates:
        """The prompt was left: tags and parameters in it become rows and settings. Nothing changes where there is none,
        so that the caret stays."""
        _, updates = self._taken_apart(values)
        return updates or {self._told: gr.skip()}

    def _taken_apart(self, values: Values) -> tuple[Values, Updates]:
        """The fields as they are then, and the updates that make them so."""
        parts = self.fields.parts
        prompt = values[parts["prompt"]] or ""
        if prompt == values[self._plain] or ":" not in prompt:  # nothing to take apart, so no folder is looked into
            return values, {}
        try:
            self._engine.adapters()
            found = absorb(prompt, self._engine.library, self._engine.bases())
        except Error as problem:
            warn(problem)
            return values, {}
        if found is None:
            return values, {}
        changed = self.fields.filled(found.settings, values)
        had = {name: values[part] for name, part in parts.items()}
        updates = self.fields.updates(changed)
        sentence = text.absorbed(changed, found.left_out)
        notes = {self._absorbed: gr.update(visible=True), self._told: sentence, self._before: had, self._plain: ""}
        return {**values, **updates}, updates | notes

    def _take_back(self, before: dict[str, Any] | None) -> Updates:
        if before is None:
            return {self._told: gr.skip()}
        updates = self.fields.updates(before)
        return updates | {self._absorbed: gr.update(visible=False), self._before: None, self._plain: before["prompt"]}

    # Drawing

    def _make(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        values, updates = self._taken_apart(values)
        if updates:
            yield updates

        def todo() -> list[Settings]:
            settings = self.fields.settings(values)
            count = max(1, min(MOST_PICTURES, int(values[self.fields.parts["count"]] or 1)))
            seeds = [((settings.seed or 0) + number) % (LARGEST_SEED + 1) for number in range(count)]
            return [replace(settings, seed=seed) for seed in seeds] if settings.seed is not None else [settings]

        yield from self._drawing.pictures(session(request), todo, values[self._result.history])

    def _borrow(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        """Have the training make room, then draw."""
        yield self._offer.hide()
        try:
            for sentence in self._offer.borrow():
                yield {self._result.status: text.note(sentence)}
        except Error as problem:
            warn(problem)
            return
        yield from self._make(values, request)

    def _live(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        """A slider was let go."""
        if not values[self._result.live]:
            yield {self._result.status: gr.skip()}
            return
        try:
            settings = self.fields.settings(values)
        except Error as problem:
            warn(problem)
            return
        shown = values[self._result.shown]
        lock = values[self.fields.parts["lock"]] and values[self.fields.parts["seed"]] is not None
        seed = settings.seed if lock or shown is None else shown.seed
        draft = replace(settings, seed=seed, steps=min(settings.steps, DRAFT_STEPS), draft=True)
        yield from self._drawing.draft(session(request), draft)

    def _vary(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        """Pictures like the one that is looked at: drawn over it, each with noise of its own."""

        def todo() -> list[Settings]:
            settings, picture = self._as_shown(values)
            image = open_picture(picture.path)[0]
            seeds = [(settings.seed or 0) + number for number in range(1, VARIATIONS + 1)]
            return [replace(settings, seed=seed, image=image, strength=VARIED) for seed in seeds]

        yield from self._drawing.pictures(session(request), todo, values[self._result.history])

    def _compare(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        """The picture that is looked at beside the one of the base alone."""
        history, made = values[self._result.history], None

        def todo() -> list[Settings]:
            return [replace(self._as_shown(values)[0], mix={})]

        for updates in self._drawing.pictures(session(request), todo, history):
            if self._result.shown in updates:
                made = updates[self._result.shown]
                continue
            yield updates
        if made and made is not values[self._result.shown]:
            yield self._result.side_by_side(made, values[self._result.shown])

    def _as_shown(self, values: Values) -> tuple[Settings, Picture]:
        """The settings of the picture that is looked at, on the base that is chosen. Raises `Error`."""
        picture = values[self._result.shown]
        sent = self._sent(picture)
        filled = self.fields.updates(self.fields.filled(sent, values))
        settings = self.fields.settings({**values, **filled, self.fields.parts["lock"]: True})
        return settings, picture

    def _sent(self, picture: Picture) -> ForMix:
        sent = like_picture(read_likeness(picture.path))
        self._engine.adapters()
        mix, lost = known(sent.mix or {}, self._engine.library)
        if lost:
            warn("; ".join(lost))
        return replace(sent, mix=mix)

    def _use(self, values: Values) -> Updates:
        try:
            return self._fill(self._sent(values[self._result.shown]), values)
        except Error as problem:
            warn(problem)
            return {self.fields.parts["seed"]: gr.skip()}

    def _receive(self, values: Values) -> Updates:
        """Another page has sent something."""
        self._engine.adapters()
        sent = values[self._to_mix.state]
        mix, lost = known(sent.mix, self._engine.library) if sent.mix is not None else (None, ())
        if lost:
            warn("; ".join(lost))
        return self._fill(replace(sent, mix=mix), values)

    def _fill(self, sent: ForMix, values: Values) -> Updates:
        updates = self.fields.updates(self.fields.filled(sent, values))
        return updates or {self.fields.parts["seed"]: gr.skip()}

    def _look_at(self, history: list[Picture], event: gr.SelectData) -> Updates:
        return self._result.looked_at(history[event.index])

    def _stop(self, request: gr.Request) -> None:
        """Cancel was pressed, or the page was closed."""
        self._drawing.stop(session(request))


def session(request: gr.Request) -> str:
    """Whose page it is."""
    return str(request.session_hash)
