"""The fields of the Mix page: all that a picture follows from."""

import secrets
from collections.abc import Mapping
from typing import Any

import gradio as gr

from sdlora.mixing.modes import MODES, Mode
from sdlora.sampling.samplers import DEFAULT, SAMPLERS

from ..engine import Engine
from ..job import LARGEST_SEED, MOST_STEPS, Settings
from ..to_mix import ForMix
from .rows import Rows, mix_of, row_of

ACTING: dict[Mode, str] = {"blend": "all at once", "switch": "in turns", "composite": "averaged"}
MOST_PICTURES = 16  # of one press of Generate
PROMPT = "red apple"
Values = Mapping[Any, Any]  # component: what is in it
Updates = dict[Any, Any]
SIMPLE = ("base", "prompt", "negative", "seed", "steps", "guidance", "sampler", "width", "height", "clip_skip")


class Fields:
    """Builds them, by name in `parts`; reads settings of them and fills them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.parts: dict[str, Any] = {}
        self._subject()
        self.rows = Rows(engine)
        self.parts["mix"] = self.rows.mix

    def frame(self) -> None:
        """Size, seed and count, to be called where they shall stand."""
        with gr.Group(elem_id="frame"):
            with gr.Row():
                self.parts["width"] = gr.Number(None, label="Width", precision=0, min_width=80, step=64)
                self.parts["height"] = gr.Number(None, label="Height", precision=0, min_width=80, step=64)
                self.parts["count"] = gr.Number(
                    1, label="Pictures", precision=0, minimum=1, maximum=MOST_PICTURES, min_width=80
                )
            with gr.Row():
                self.dice = gr.Button("New seed", render=False)
                self.parts["seed"] = gr.Number(
                    1,
                    label="Seed",
                    precision=0,
                    placeholder="random",
                    buttons=[self.dice],
                    elem_id="seed",
                    min_width=160,
                )
                self.parts["lock"] = gr.Checkbox(
                    True, label="Keep the seed", info="else each press draws a new one", min_width=150, elem_id="lock"
                )
        with gr.Accordion("Sampler, steps, guidance, mode", open=False, elem_id="more"):
            self._more()

    def settings(self, values: Values) -> Settings:
        """What is to be drawn. Raises `Error` for rows that are none."""
        of = {name: values[part] for name, part in self.parts.items()}
        return Settings(
            base=(of["base"] or "").strip(),
            mix=mix_of(of["mix"]),
            prompt=of["prompt"] or "",
            negative=of["negative"] or "",
            seed=secrets.randbelow(LARGEST_SEED + 1) if of["seed"] is None or not of["lock"] else of["seed"],
            steps=int(of["steps"] or 0),
            guidance=float(of["guidance"] or 0),
            sampler=of["sampler"],
            width=of["width"],
            height=of["height"],
            clip_skip=int(of["clip_skip"] or 1),
            mode=of["mode"],
            equalise=bool(of["equalise"]),
        )

    def filled(self, sent: ForMix, values: Values) -> dict[str, Any]:
        """By name, what is in the fields once they are filled with what was sent."""
        of = {name: values[part] for name, part in self.parts.items()}
        had = dict(of)
        of |= {name: value for name in SIMPLE if (value := getattr(sent, name)) is not None}
        of |= {name: value for name in ("mode", "equalise") if (value := getattr(sent, name)) is not None}
        if sent.mix is not None:
            new = [row_of(name, given) for name, given in sent.mix.items()]
            kept = [row for row in of["mix"] or [] if row.get("name") not in sent.mix] if sent.add else []
            of["mix"] = [*kept, *new]
        if sent.words and sent.words not in of["prompt"]:
            of["prompt"] = f"{of['prompt'].rstrip(' ,')}, {sent.words}".lstrip(" ,")
        return {name: value for name, value in of.items() if value != had[name]}

    def updates(self, named: Mapping[str, Any]) -> Updates:
        """Updates of the components by name."""
        return {self.parts[name]: value for name, value in named.items()}

    def _subject(self) -> None:
        listed = self._engine.listed_bases_only
        with gr.Group():
            self.parts["base"] = gr.Dropdown(
                ["mini"],
                value="mini",
                label="Base",
                info=None if listed else "or type a hub id, a folder or a checkpoint file",
                allow_custom_value=not listed,
                elem_id="base",
            )
            self.parts["prompt"] = gr.Textbox(PROMPT, label="Prompt", lines=3, elem_id="prompt")
            self.parts["negative"] = gr.Textbox(label="Negative prompt", lines=1, elem_id="negative")

    def _more(self) -> None:
        with gr.Row():
            self.parts["steps"] = gr.Slider(1, MOST_STEPS, 25, step=1, label="Steps", min_width=180, buttons=[])
            self.parts["guidance"] = gr.Slider(1, 20, 4, step=0.5, label="Guidance", min_width=180, buttons=[])
        with gr.Row():
            self.parts["sampler"] = gr.Dropdown(list(SAMPLERS), value=DEFAULT, label="Sampler", min_width=180)
            self.parts["clip_skip"] = gr.Number(1, label="Clip skip", precision=0, minimum=1, maximum=12, min_width=90)
        with gr.Row():
            self.parts["mode"] = gr.Radio(
                [(f"{mode.capitalize()}: {ACTING[mode]}", mode) for mode in MODES],
                value="blend",
                label="How adapters act together",
                min_width=220,
            )
            self.parts["equalise"] = gr.Checkbox(
                False, label="Equalise", info="1.0 is as loud for each adapter", min_width=140
            )
