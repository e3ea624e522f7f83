"""The page that tells how an image was made, and sends what made it to Mix."""

import json
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from sdlora.errors import Error, printable
from sdlora.mixing.like import Likeness, read_likeness
from sdlora.mixing.mix import Given
from sdlora.mixing.png_info import PictureParameters, read_parameters

from .datasets.thumbnails import thumbnail
from .engine import Engine
from .to_mix import ForMix, ToMix, like_picture
from .toast import warn

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
SIDE = 640  # pixels of the image as it is shown
ABSENT = ' <span class="alert">not in the library</span>'
LONGEST = 20_000  # characters of a text


class ImageInfoPage:
    """Builds the page inside the current `gr.Blocks`, and answers what is done on it."""

    def __init__(self, engine: Engine, to_mix: ToMix) -> None:
        self._engine, self._to_mix = engine, to_mix
        self._settings = gr.State(None)  # the `ForMix` of the image that is shown
        with gr.Row(elem_id="image-info"):
            with gr.Column(scale=5, min_width=300):
                # no gr.Image: it would read the pixels itself, and hand on an image without its texts
                self._file = gr.File(
                    label="Drop an image here: PNG, JPEG or WebP",
                    file_types=[".png", ".jpg", ".jpeg", ".webp"],
                    height=140,
                    elem_id="image-info-file",
                )
                self._shown = gr.HTML(container=False, elem_id="image-info-shown")
            with gr.Column(scale=6, min_width=300):
                self._told = gr.HTML(_NOTHING, container=False, elem_id="image-info-told")
                self._send = gr.Button("Send to Mix", variant="primary", visible=False, elem_id="image-info-send")
                self._text = gr.Textbox(
                    label="Parameters as they stand in the file",
                    interactive=False,
                    visible=False,
                    lines=3,
                    max_lines=12,
                    buttons=["copy"],
                    elem_id="image-info-text",
                )
        outputs = [self._settings, self._shown, self._told, self._send, self._text]
        self._file.upload(self._read, self._file, outputs, **QUIET)
        self._file.clear(self._cleared, None, outputs, **QUIET)
        self._send.click(to_mix.send, self._settings, to_mix.outputs, **QUIET)

    def _read(self, upload: str | None) -> list[Any]:
        if not upload:
            return self._cleared()
        path = Path(upload)
        try:
            found = read_parameters(path)
            settings, mix = _settings(path, found)
        except Error as problem:
            sentence = str(problem).replace(str(path), path.name)  # the user knows it by this name
            warn(sentence)
            picture = _picture(path) if "says nothing" in sentence else ""
            return [None, picture, f'<p class="nothing">{escape(sentence)}</p>', *_hidden()]
        told = _told(found) + _adapters(mix, set(self._engine.adapters()))
        text = gr.update(visible=bool(found.text), value=printable_lines(found.text))
        return [settings, _picture(path), told, gr.update(visible=True), text]

    def _cleared(self) -> list[Any]:
        return [None, "", _NOTHING, *_hidden()]


_NOTHING = '<p class="nothing">An image that sdlora, A1111 or ComfyUI\'s savers made says here how it was made.</p>'


def printable_lines(text: str) -> str:
    """A file's text, line by line, without what steers anything, and not too long."""
    return "\n".join(printable(line, LONGEST) for line in text[:LONGEST].split("\n"))


def _settings(path: Path, found: PictureParameters) -> tuple[ForMix, dict[str, Given]]:
    """What to send, and its mix. An image with a prompt alone sends that."""
    try:
        like: Likeness = read_likeness(path)
    except Error:
        return ForMix(prompt=found.infotext.prompt, negative=found.infotext.negative), {}
    return like_picture(like), like.mix


def _hidden() -> list[Any]:
    return [gr.update(visible=False), gr.update(visible=False, value="")]


def _picture(path: Path) -> str:
    return f'<img alt="The image" src="{escape(thumbnail(path, SIDE))}">'


def _told(found: PictureParameters) -> str:
    info = found.infotext
    parts = [_section("Prompt", info.prompt), _section("Negative prompt", info.negative)]
    facts = "".join(f"<dt>{_line(key)}</dt><dd>{_line(value)}</dd>" for key, value in info.facts.items())
    if facts:
        parts.append(f'<h3>Settings</h3><dl class="facts">{facts}</dl>')
    if found.details:
        details = json.dumps(found.details, indent=2, ensure_ascii=False)
        parts.append(f"<details><summary>What sdlora adds</summary><pre>{_block(details)}</pre></details>")
    return "".join(parts)


def _section(title: str, text: str) -> str:
    return f"<h3>{title}</h3><p class='text'>{_block(text)}</p>" if text else ""


def _adapters(mix: dict[str, Given], there: set[str]) -> str:
    """Those that it was made with, and whether they are in the library."""
    if not mix:
        return ""
    rows = "".join(
        f"<li><b>{_line(name)}</b> {_line(_weight(given))}{'' if name in there else ABSENT}</li>"
        for name, given in mix.items()
    )
    return f'<h3>Adapters</h3><ul class="made-with">{rows}</ul>'


def _weight(given: Given) -> str:
    if isinstance(given, int | float):
        return f"× {given:g}"
    weights = dict(given)
    if weights.get("unet") == weights.get("text") and weights.keys() == {"unet", "text"}:
        return f"× {weights['unet']:g}"
    return ", ".join(f"{key} {value}" for key, value in weights.items())


def _line(text: str) -> str:
    return escape(printable(text))


def _block(text: str) -> str:
    return escape(printable_lines(text))
