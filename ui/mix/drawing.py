"""From settings to pictures: what the page shows while they are drawn, and what stays of them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr
from PIL import Image

from sdlora.errors import Error
from sdlora.sampling.denoise import Cancelled

from .. import text
from ..device_offer import DeviceOffer
from ..engine import Engine, Taken
from ..job import Job, Picture, Settings
from ..toast import warn, warn_of_a_mistake
from .fields import Updates
from .result import Result


class Drawing:
    """Draws for the sessions of all browsers, one job at a time each."""

    def __init__(self, engine: Engine, result: Result, offer: DeviceOffer) -> None:
        self._engine, self._result, self._offer = engine, result, offer
        self._jobs: dict[str, Job[Picture]] = {}
        self._drafts: dict[str, Job[Picture]] = {}
        self._cancelled: set[str] = set()

    def pictures(
        self, session: str, todo: Callable[[], Sequence[Settings]], history: list[Picture]
    ) -> Iterator[Updates]:
        """From Generate to pictures: progress as it comes, then each, or one sentence why there is none."""
        result, made, shown = self._result, list[Picture](), list[Image.Image]()
        outcome: Updates = {result.status: ""}
        yield {result.generate: gr.update(interactive=False), result.cancel: gr.update(interactive=True)}
        self._cancelled.discard(session)
        self._stop_draft(session)
        try:
            settings = todo()
            for number, one in enumerate(settings, 1):
                if session in self._cancelled:
                    raise Cancelled
                job = self._jobs[session] = self._engine.start(one)
                before = f"picture {number} of {len(settings)} · " if len(settings) > 1 else ""
                yield from self._watched(job, before, shown)
                made.insert(0, job.result())
                shown.clear()
                yield result.finished([*made, *history])
        except Cancelled:
            outcome[result.status] = text.note("Cancelled.")
        except Taken as refusal:
            outcome |= self._offer.show(refusal)
        except Error as problem:
            warn(problem)
        except Exception:
            warn_of_a_mistake("Generate")
        finally:
            self._jobs.pop(session, None)
        if shown:  # the preview of a picture that will never be
            outcome |= result.finished([*made, *history])
        yield {result.generate: gr.update(interactive=True), result.cancel: gr.update(interactive=False), **outcome}

    def draft(self, session: str, settings: Settings) -> Iterator[Updates]:
        """A first look at a mix; given up as soon as the next one is asked for. Nothing while a picture is drawn."""
        if session in self._jobs:
            return
        self._stop_draft(session)
        result = self._result
        try:
            job = self._drafts[session] = self._engine.start(settings)
            yield from self._watched(job, "draft · ", [])
            picture = job.result()
            yield result.drafted(picture) | {result.status: text.note(f"Draft of {settings.steps} steps")}
        except Cancelled:
            pass  # by the next draft, by Generate, or because the page was closed
        except Error as problem:
            warn(problem)
            yield {result.status: ""}

    def stop(self, session: str) -> None:
        """Cancel was pressed, or the page was closed."""
        self._cancelled.add(session)
        self._stop_draft(session)
        if job := self._jobs.get(session):
            job.cancel()

    def _stop_draft(self, session: str) -> None:
        if job := self._drafts.pop(session, None):
            job.cancel()

    def _watched(self, job: Job[Picture], before: str, shown: list[Image.Image]) -> Iterator[Updates]:
        """`shown` is the latest preview that the page has, if any."""
        for progress in job.watch():
            updates: dict[Any, Any] = {self._result.status: text.progress_bar(progress, before)}
            if progress.preview and [progress.preview] != shown:
                shown[:] = [progress.preview]
                updates |= self._result.single(progress.preview)
            yield updates
