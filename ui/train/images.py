"""The part of the Train page where images come from, and what the doctor says of them."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any, TypeVar

import gradio as gr
from PIL import Image

from sdlora.data.doctor import Report, examine, write_sheet
from sdlora.errors import Error

from .. import text
from ..datasets import Dataset, Received, Shelf
from ..toast import warn
from . import html

Updates = dict[Any, Any]
Result = TypeVar("Result")
MOST_TOLD = 5  # of the files that were left out
MOST_REPORTS = 16
POLL = 0.25


class Images:
    """What is trained on: `chosen` (a state) holds the dataset's id, "" for none yet."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.reports: dict[str, Report] = {}  # the doctor's latest, by dataset, for the estimate
        self.chosen = gr.State("")
        with gr.Group(elem_id="images"):
            self._files = gr.File(
                label="Drop images, captions (.txt) or a zip archive",
                file_count="multiple",
                height=150,
                elem_id="drop",
            )
            with gr.Row(elem_classes="tight"):
                self._folder = gr.UploadButton("Upload a folder", file_count="directory", size="sm", min_width=120)
                self._fresh = gr.Button("Start over", size="sm", min_width=100, visible=False)
            self._pick = gr.Dropdown(
                [],
                value=None,
                label="or images that are here already",
                info="earlier ones, samples, and folders below the dataset_roots of settings.toml",
                filterable=True,
                elem_id="pick",
            )
        self.note = gr.HTML(elem_id="images-note", container=False)
        self.findings = gr.HTML(elem_id="findings", container=False)
        with gr.Row(elem_classes="tight", visible=False) as self._tools:
            self.again = gr.Button("Look again", size="sm", min_width=100)
            self.fix = gr.Button("Fix into a copy", size="sm", min_width=120, elem_id="fix")
        with gr.Accordion("Contact sheet: what each crop keeps", open=False, visible=False) as self._sheet_box:
            self._sheet = gr.Image(
                label="Contact sheet",
                show_label=False,
                interactive=False,
                format="png",
                buttons=["fullscreen", "download"],
                elem_id="sheet",
            )
        self.outputs = [self.chosen, self._files, self._folder, self._fresh, self._pick, self.note]
        self.report_outputs = [self.findings, self._tools, self._sheet_box, self._sheet, self.note, self.fix]

    def connect(self, follow: Callable[[Any], Any]) -> None:
        """`follow` is told of each event that has chosen other images, to chain what depends on them."""
        quiet: dict[str, Any] = {"show_progress": "minimal", "api_visibility": "private"}
        for source in (self._files, self._folder):
            follow(source.upload(self._take, [source, self.chosen], self.outputs, **quiet))
        follow(self._pick.input(lambda id_: self._choose(id_ or ""), self._pick, self.outputs, **quiet))
        follow(self._fresh.click(lambda: self._choose(""), None, self.outputs, **quiet))

    def show(self, id_: str) -> Updates:
        """The page as it is with these images, which may be gone."""
        return self._choose(id_ if id_ in self.shelf.all() else "")

    def _take(self, files: list[str] | None, id_: str) -> Updates:
        """Files were dropped."""
        try:
            dataset, received = self.shelf.receive([Path(file) for file in files or []], id_ or None)
        except Error as problem:
            warn(problem)
            return {self._files: None, self._folder: None}
        return self._choose(dataset.id) | {self.note: text.note(_received(received))}

    def _choose(self, id_: str) -> Updates:
        return {
            self.chosen: id_,
            self._files: None,
            self._folder: None,
            self._fresh: gr.update(visible=bool(id_)),
            self._pick: gr.update(choices=list(self.shelf.all()), value=id_ or None),
            self.note: "",
        }

    def look(self, id_: str, base: str, trigger: str, resolution: str) -> Iterator[Updates]:
        """The doctor's findings and the contact sheet, with a count of the images while it looks at them."""
        if not id_:
            yield {
                self.findings: "",
                self._tools: gr.update(visible=False),
                self._sheet_box: gr.update(visible=False),
            }
            return
        try:
            dataset = self.shelf.get(id_)
            seen: list[None] = []
            work = background(lambda: examined(dataset, base, trigger, resolution, lambda: seen.append(None)))
            for _ in waiting(work):
                yield {self.note: text.note(f"Looking at image {len(seen) + 1} …")}
            report = work.result()
            self._remember(id_, report)
        except Error as problem:
            warn(problem)
            yield {self.findings: "", self.note: "", self._sheet_box: gr.update(visible=False)}
            return
        yield {
            self.findings: html.findings(report),
            self._tools: gr.update(visible=True),
            self.fix: gr.update(interactive=bool(report.counts["error"] + report.counts["warning"])),
        }
        sheet = contact_sheet(report)
        yield {self._sheet_box: gr.update(visible=sheet is not None), self._sheet: sheet, self.note: ""}

    def _remember(self, id_: str, report: Report) -> None:
        self.reports.pop(id_, None)
        self.reports[id_] = report
        while len(self.reports) > MOST_REPORTS:
            self.reports.pop(next(iter(self.reports)), None)

    def mend(self, id_: str, base: str, trigger: str, resolution: str) -> Updates:
        """A cleaned copy, which takes the place of the dataset that has the faults."""
        try:
            dataset = self.shelf.get(id_)
            copy, done = self.shelf.fixed(dataset, examined(dataset, base, trigger, resolution))
        except Error as problem:
            warn(problem)
            return {self.note: ""}
        said = [f"{done.images} images in the copy {copy.id}"]
        changes = {"made upright RGB": done.converted, "renamed": done.renamed, "left out": done.left_out}
        said += [f"{len(names)} {what}" for what, names in changes.items() if names]
        return self._choose(copy.id) | {self.note: text.note(", ".join(said) + ".")}


def examined(
    dataset: Dataset, base: str, trigger: str, resolution: str, on_image: Callable[[], None] = lambda: None
) -> Report:
    """The doctor's report. Raises `Error` for a base that is not there."""
    side = int(resolution) if str(resolution or "").strip().isdecimal() and int(resolution) >= 8 else None
    return examine(dataset.folder, base=base, trigger=trigger or None, resolution=side, on_image=on_image)


def contact_sheet(report: Report) -> Image.Image | None:
    """Its first page; None without any image that could be used."""
    if not report.frames:
        return None
    with TemporaryDirectory() as folder:
        [first, *_] = write_sheet(report.frames, Path(folder) / "sheet.png")
        with Image.open(first) as image:
            image.load()
            return image


def background(work: Callable[[], Result]) -> "Future[Result]":
    """Do it in a thread of its own, so that the page can be told meanwhile how far it is."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as problem:
            future.set_exception(problem)

    Thread(target=run, daemon=True).start()
    return future


def waiting(future: "Future[Any]") -> Iterator[None]:
    """Again and again until it is done."""
    while not future.done():
        yield
        time.sleep(POLL)


def _received(received: Received) -> str:
    texts = f" and {received.texts} captions" if received.texts else ""
    said = f"{received.images} images{texts} taken."
    if left := received.left_out:
        told = "; ".join(f"{name}: {why}" for name, why in list(left.items())[:MOST_TOLD])
        more = f" and {len(left) - MOST_TOLD} more" if len(left) > MOST_TOLD else ""
        said += f" Left out: {told}{more}."
    return said
