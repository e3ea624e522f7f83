"""The part of the Train page where captions are read and written."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from huggingface_hub.constants import HF_HUB_CACHE

from sdlora.captioning import NAMES, SUBJECTS, Edit, Wanted, describe_folder, load_captioner
from sdlora.errors import Error

from .. import text
from ..datasets import Dataset, Shelf, captions
from ..toast import warn
from . import html
from .images import Updates, background, waiting

Run = Callable[[Callable[[], Any]], Any]  # has the device's thread do something, and waits for it


class Captions:
    """Thumbnails with captions beside them, saved as they are typed, and tools for all of them at once."""

    def __init__(self, shelf: Shelf, captioners: Path, on_device: Run) -> None:
        self._shelf, self._captioners, self._on_device = shelf, captioners, on_device
        self._page = gr.State(0)
        with gr.Accordion("Captions", open=True, visible=False, elem_id="captions") as self._box:
            self.note = gr.HTML(elem_id="captions-note", container=False)
            self._copy = gr.Button("Edit them in a copy", size="sm", visible=False)
            self._bulk()
            self._list = gr.HTML(js_on_load=html.EDITS, elem_id="caption-list", container=False)
            with gr.Row(elem_classes="tight", visible=False) as self._pager:
                self._before = gr.Button("‹ Before", size="sm", min_width=80)
                self._after = gr.Button("Next ›", size="sm", min_width=80)
        self.outputs = [self._box, self.note, self._copy, self._tools, self._list, self._pager, self._page, self._undo]

    def _bulk(self) -> None:
        with gr.Column(visible=False, elem_classes="plain") as self._tools:
            with gr.Accordion("Change all at once", open=False):
                with gr.Row(elem_classes="tight"):
                    self._prefix = gr.Textbox(label="Put in front", min_width=110)
                    self._suffix = gr.Textbox(label="Put behind", min_width=110)
                with gr.Row(elem_classes="tight"):
                    self._old = gr.Textbox(label="Replace", min_width=110)
                    self._new = gr.Textbox(label="with", min_width=110)
                with gr.Row(elem_classes="tight"):
                    self._add = gr.Textbox(label="Trigger in", min_width=110, info="in front of captions without it")
                    self._out = gr.Textbox(label="Trigger out", min_width=110, info="taken out of all")
                self._apply = gr.Button("Change all captions", size="sm")
            with gr.Accordion("Write them automatically", open=False):
                with gr.Row(elem_classes="tight"):
                    self._model = gr.Dropdown([], label="Model", min_width=150, elem_id="captioner")
                    self._subject = gr.Dropdown(list(SUBJECTS), value="style", label="To learn", min_width=110)
                self._overwrite = gr.Checkbox(label="Also where there is a caption", value=False)
                self._describe = gr.Button("Write captions", size="sm")
            self._undo = gr.Button("Undo", size="sm", elem_id="undo-captions")

    def connect(self, chosen: gr.State, trigger: gr.Textbox, follow: Callable[[Any], Any]) -> None:
        """`follow` is told of the event that chooses a copy in place of the dataset; it returns that to chain on."""
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        here, out = [chosen, self._page], self.outputs
        self._list.input(self._write, chosen, [self.note, self._undo], **quiet)
        self._before.click(lambda id_, page: self.show(id_, page - 1), here, out, **quiet)
        self._after.click(lambda id_, page: self.show(id_, page + 1), here, out, **quiet)
        self._undo.click(self._take_back, here, out, **quiet)
        bulk = [self._prefix, self._suffix, self._old, self._new, self._add, self._out]
        self._apply.click(self._change, [*here, *bulk], [*out, *bulk], **quiet)
        asked = [self._model, self._subject, self._overwrite, trigger]
        self._describe.click(
            self._write_all,
            [*here, *asked],
            [*out, self._describe],
            concurrency_id="captions",
            concurrency_limit=2,
            **quiet,
        )
        follow(self._copy.click(self._copied, chosen, [chosen, self.note], **quiet))

    def show(self, id_: str, number: int = 0) -> Updates:
        """One page of captions; nothing without images."""
        try:
            dataset = self._shelf.get(id_) if id_ else None
            rows = captions.captioned(dataset) if dataset else []
        except Error as problem:
            warn(problem)
            dataset, rows = None, []
        if dataset is None:
            return {self._box: gr.update(visible=False), self._page: 0, self._list: ""}
        shown, number, pages = captions.page_of(rows, number)
        without = sum(not row.text for row in rows)
        said = f"{len(rows)} images, {without} without a caption" if without else f"{len(rows)} images with captions"
        said += f" · page {number + 1} of {pages}" if pages > 1 else ""
        return {
            self._box: gr.update(visible=True),
            self.note: text.note(said),
            self._copy: gr.update(visible=not dataset.own),
            self._tools: gr.update(visible=dataset.own),
            self._list: html.captions(shown, dataset.own),
            self._pager: gr.update(visible=pages > 1),
            self._page: number,
            self._undo: gr.update(interactive=captions.can_take_back(dataset)),
        }

    def models(self) -> dict[str, str]:
        """What can write captions here: a name for the page -> what `load_captioner` takes. Nothing is downloaded."""
        own = {path.name: str(path) for path in sorted(self._captioners.glob("*")) if path.is_dir()}
        cached = {name: hub for name, hub in NAMES.items() if _is_cached(hub)}
        return own | cached

    def choices(self) -> Updates:
        """The models that are here now."""
        models = list(self.models())
        hint = None if models else f"none is here: put a model's folder into {self._captioners.name}/ of the workspace"
        return {
            self._model: gr.update(choices=models, value=models[0] if models else None, info=hint),
            self._describe: gr.update(interactive=bool(models)),
        }

    @property
    def choice_outputs(self) -> list[Any]:
        """What `choices` fills."""
        return [self._model, self._describe]

    def _own(self, id_: str) -> Dataset:
        dataset = self._shelf.get(id_)
        if not dataset.own:
            raise Error("These captions lie outside of the workspace: edit them in a copy.")
        return dataset

    def _write(self, id_: str, event: gr.EventData) -> Updates:
        """A caption was typed."""
        try:
            dataset = self._own(id_)
            captions.write_caption(dataset, str(event.file), str(event.text))
        except (Error, AttributeError) as problem:
            warn(problem)
            return {self.note: ""}
        return {self.note: text.note("Saved."), self._undo: gr.update(interactive=True)}

    def _take_back(self, id_: str, page: int) -> Updates:
        try:
            said = captions.take_back(self._own(id_))
        except Error as problem:
            warn(problem)
            return self.show(id_, page)
        return self.show(id_, page) | {self.note: text.note(said)}

    def _change(self, id_: str, page: int, prefix: str, suffix: str, old: str, new: str, add: str, out: str) -> Updates:
        replace = [(old, new or "")] if old else []
        edit = Edit(replace, (out or "").strip(), prefix or "", suffix or "", (add or "").strip())
        try:
            changed = captions.change_all(self._own(id_), edit) if edit else 0
        except Error as problem:
            warn(problem)
            return self.show(id_, page)
        said = f"{changed} captions changed." if edit else "Fill in what is to be changed."
        empty = dict.fromkeys((self._prefix, self._suffix, self._old, self._new, self._add, self._out), "")
        return self.show(id_, page) | {self.note: text.note(said)} | (empty if edit else {})

    def _write_all(
        self, id_: str, page: int, model: str, subject: Any, overwrite: bool, trigger: str
    ) -> Iterator[Updates]:
        """Have a model fill the empty captions; how far it is, then the captions."""
        yield {self._describe: gr.update(interactive=False), self.note: text.note(f"Loading {model} …")}
        said: list[str] = []
        try:
            dataset, name = self._own(id_), self.models().get(model or "")
            if name is None:
                raise Error("Choose a model that is here.")
            wanted = Wanted(subject if subject in SUBJECTS else "style", (trigger or "").strip() or None)
            work = background(lambda: self._on_device(lambda: _described(dataset, name, wanted, overwrite, said)))
            for _ in waiting(work):
                if said:
                    yield {self.note: text.note(f"{len(said)} captions written; the last: {said[-1]}")}
            done = work.result()
        except Error as problem:
            warn(problem)
            yield self.show(id_, page) | {self._describe: gr.update(interactive=True)}
            return
        skipped = f" Left alone: {', '.join(list(done.skipped)[:5])}." if done.skipped else ""
        note = f"{len(done.changed)} captions written; read them, a model may be wrong.{skipped}"
        yield self.show(id_, page) | {self.note: text.note(note), self._describe: gr.update(interactive=True)}

    def _copied(self, id_: str) -> tuple[str, str]:
        try:
            copy = self._shelf.own(self._shelf.get(id_))
        except Error as problem:
            warn(problem)
            return id_, ""
        return copy.id, text.note(f"This is {copy.id}, a copy in the workspace; the originals stay as they are.")


def _described(dataset: Dataset, name: str, wanted: Wanted, overwrite: bool, said: list[str]) -> Any:
    """On the device's thread."""
    from sdlora.devices import pick_device

    captioner = load_captioner(name, device=pick_device())
    return describe_folder(
        dataset.folder,
        captioner,
        Path(name).name,
        wanted=wanted,
        overwrite=overwrite,
        on_caption=lambda _, words: said.append(words),
    )


def _is_cached(hub_id: str) -> bool:
    return any(Path(HF_HUB_CACHE).glob(f"models--{hub_id.replace('/', '--')}/snapshots/*"))
