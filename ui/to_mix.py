"""How other pages send settings to Mix: an adapter to try, a picture's parameters, a run's result.

A page is given `to_mix`, and lets one of its events write to it:

    button.click(lambda name: to_mix.send(ForMix(mix={name: 1.0}, add=True)), name, to_mix.outputs)

Mix then fills its fields and comes to the front.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import gradio as gr

from sdlora.mixing.like import Likeness
from sdlora.mixing.mix import Given
from sdlora.mixing.modes import Mode


@dataclass(frozen=True)
class ForMix:
    """What Mix is to be filled with; None leaves a field as it is.

    `mix` is {library name: weight or table of weights}, as `Mixer.set` takes it. With `add` its adapters come to those
    that are there, else they take their place. `words` are put behind the prompt unless they are in it.
    """

    base: str | None = None
    prompt: str | None = None
    negative: str | None = None
    seed: int | None = None
    steps: int | None = None
    guidance: float | None = None
    sampler: str | None = None
    width: int | None = None
    height: int | None = None
    clip_skip: int | None = None
    mix: Mapping[str, Given] | None = None
    mode: Mode | None = None
    equalise: bool | None = None
    add: bool = False
    words: str = ""
    sending: str = field(default_factory=lambda: uuid4().hex)  # what is sent twice arrives twice

    def __hash__(self) -> int:
        return hash(self.sending)  # Gradio's states ask for it, and a mix is a dict


def like_picture(like: Likeness) -> ForMix:
    """The settings of a picture, as `sdlora.mixing.like` reads them of a file."""
    width, height = like.settings.get("size") or (None, None)
    keys = ("negative", "seed", "steps", "guidance", "sampler", "clip_skip")
    given = {key: like.settings[key] for key in keys if key in like.settings}
    return ForMix(prompt=like.prompt, mix=like.mix, mode=like.mode, width=width, height=height, **given)


class ToMix:
    """The way to the Mix page, made once for the app."""

    def __init__(self, tabs: gr.Tabs) -> None:
        self.state = gr.State(None)  # the latest `ForMix` of this session
        self.outputs = [self.state, tabs]

    def send(self, settings: ForMix) -> list[Any]:
        """What an event must return for `outputs`."""
        return [settings, gr.Tabs(selected="mix")]
