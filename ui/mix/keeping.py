"""Save and open mixes and prompts; a mix as one adapter."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from sdlora import Mixer
from sdlora.adapters.library import SUFFIX
from sdlora.errors import Error
from sdlora.files import is_safe_name
from sdlora.mixing.mix_file import MixFile
from sdlora.mixing.tags import read_tags

from .. import text
from ..engine import Engine, Tell
from ..to_mix import ForMix
from ..toast import warn
from .fields import Fields, Updates, Values
from .rows import mix_of
from .saved import Saved
from .tagging import with_tags

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
Fill = Callable[[ForMix, Values], Updates]


class Keeping:
    """The disclosure in which this is done."""

    def __init__(self, engine: Engine, fields: Fields) -> None:
        self._engine, self._fields, self._store = engine, fields, Saved(engine)
        with gr.Accordion("Save, open, export", open=False, elem_id="keeping"):
            with gr.Row():
                self.saved = gr.Dropdown([], value=None, label="Open a saved mix or prompt", min_width=200)
                self._file = gr.UploadButton("Open a mix file", file_types=[".toml"], size="sm", min_width=120)
            with gr.Row():
                self._name = gr.Textbox(label="Name", max_lines=1, min_width=160, elem_id="keep-name")
                self._save_mix = gr.Button("Save mix", size="sm", min_width=90)
                self._save_prompt = gr.Button("Save prompt", size="sm", min_width=90)
            with gr.Row():
                self._rank = gr.Number(
                    0, label="Rank", info="0: exact", precision=0, minimum=0, maximum=1024, min_width=120
                )
                self._export = gr.Button("Export as one adapter", size="sm", min_width=150)
            self._note = gr.HTML(container=False, elem_id="kept")

    def names(self) -> list[str]:
        """What can be opened."""
        return self._store.names()

    def connect(self, inputs: set[Any], filled: list[Any], fill: Fill) -> None:
        """`fill` makes updates for `filled` of what was opened."""
        mine = {*inputs, self._name, self._rank, self.saved, self._file}
        told = [self._note, self.saved]
        self._save_mix.click(self._on_save_mix, mine, told, **QUIET)
        self._save_prompt.click(self._on_save_prompt, mine, told, **QUIET)
        self._export.click(self._on_export, mine, [self._note], concurrency_limit=4, **QUIET)

        def opened(sent: ForMix | None, values: Values) -> Updates:
            return {self._note: ""} | (fill(sent, values) if sent else {})

        self.saved.input(lambda values: opened(self._chosen(values), values), mine, [*filled, self._note], **QUIET)
        self._file.upload(lambda values: opened(self._uploaded(values), values), mine, [*filled, self._note], **QUIET)

    def _on_save_mix(self, values: Values) -> Updates:
        of = {name: values[part] for name, part in self._fields.parts.items()}
        return self._said(
            lambda: self._store.save_mix(
                values[self._name] or "", mix_of(of["mix"]), of["mode"], equalise=of["equalise"]
            )
        )

    def _on_save_prompt(self, values: Values) -> Updates:
        of = {name: values[part] for name, part in self._fields.parts.items()}
        return self._said(
            lambda: self._store.save_prompt(values[self._name] or "", with_tags(of["prompt"] or "", mix_of(of["mix"])))
        )

    def _said(self, save: Callable[[], Path]) -> Updates:
        try:
            path = save()
        except Error as problem:
            warn(problem)
            return {self._note: ""}
        where = path.relative_to(self._engine.workspace).as_posix()
        return {self._note: text.note(f"Saved as {where}"), self.saved: gr.update(choices=self.names())}

    def _on_export(self, values: Values) -> Updates:
        name, rank = (values[self._name] or "").strip(), values[self._rank] or None
        try:
            settings = self._fields.settings(values)
            path = self._target(name)
            settings.check()
            self._engine.check_adapters(set(settings.mix))

            def export(mixer: Mixer, tell: Tell) -> float:
                mixer.set(settings.mix, settings.mode, equalise=settings.equalise)
                return float(mixer.export(path, rank).relative)

            error = self._engine.work(settings.base, export).result()
        except Error as problem:
            warn(problem)
            return {self._note: ""}
        exactly = f", relative error {error:.1e} before rounding" if rank else ""
        return {self._note: text.note(f"{name} is in the library now{exactly}")}

    def _target(self, name: str) -> Path:
        if not is_safe_name(name):
            raise Error("Give the adapter a name first, of letters, digits, spaces and - _ only.")
        path = self._engine.adapters_folder / f"{name}{SUFFIX}"
        if path.exists():
            raise Error(f"There is an adapter {name} already: give another name.")
        return path

    def _chosen(self, values: Values) -> ForMix | None:
        if not values[self.saved]:
            return None
        try:
            kind, path = self._store.path(values[self.saved])
            if kind == "mix":
                return _mix(self._store.read_mix(path))
            prompt = read_tags(path.read_text(encoding="utf-8"))
            mix = {tag.name: tag.given() for tag in prompt.tags}
            return ForMix(prompt=prompt.text.strip(), mix=mix)
        except Error as problem:
            warn(problem)
            return None

    def _uploaded(self, values: Values) -> ForMix | None:
        try:
            return _mix(self._store.read_mix(Path(values[self._file])))
        except Error as problem:
            warn(problem)
            return None


def _mix(found: MixFile) -> ForMix:
    return ForMix(mix=found.adapters, mode=found.mode, equalise=found.equalise)
