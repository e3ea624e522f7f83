"""An axis of a grid chosen from menus: what varies, of what, and the values."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import gradio as gr

from sdlora.adapters.library import parse_weight
from sdlora.errors import Error
from sdlora.mixing.axis_kinds import NONE
from sdlora.mixing.axis_values import texts

NOTHING = "nothing"


class Choice(NamedTuple):
    """`title` is what the menu says; `of` what a second menu has (`adapters`, `runs` or nothing); `usual` is what its
    values begin with."""

    title: str
    of: str
    usual: str
    hint: str


CHOICES = {
    "": Choice(NOTHING, "", "", ""),
    "weight": Choice("weight of an adapter", "adapters", "0, 0.5, 1", "0, 0.5, 1 or 0-1.5[4]"),
    "adapter": Choice("adapter", "", NONE, "names of the library; name:0.8 for a weight; none for the base alone"),
    "checkpoint": Choice("checkpoint of a run", "runs", "all", "steps such as 50, 100, or all"),
    "replace": Choice(
        "words of the prompt", "", "red apple, fox, octopus", "words of the prompt, then others in their place"
    ),
    "prompt": Choice("whole prompt", "", "a fox, a cat", 'prompts; "in quotation marks" where one has commas'),
    "seed": Choice("seed", "", "1-4", "1, 7, 9 or 1-4"),
    "sampler": Choice("sampler", "", "Euler a, DPM++ 2M Karras, DDIM", "names as on Mix"),
    "guidance": Choice("guidance", "", "2, 4, 8", "2, 4, 8 or 2-8[4]"),
    "steps": Choice("steps", "", "10, 25, 50", "10, 25 or 10-50(+10)"),
}
KIND_OF = {choice.title: kind for kind, choice in CHOICES.items()}


class AxisMenu:
    """One axis' row of menus."""

    def __init__(self, label: str, kind: str) -> None:
        choice = CHOICES[kind]
        with gr.Row(elem_classes="axis"):
            self.kind = gr.Dropdown(list(KIND_OF), value=choice.title, label=label, min_width=170, scale=2)
            self.of = gr.Dropdown([], label=f"{label}: of", visible=bool(choice.of), min_width=150, scale=2)
            self.values = gr.Textbox(
                choice.usual,
                label=f"{label}: values",
                info=choice.hint,
                visible=bool(kind),
                max_lines=1,
                min_width=200,
                scale=4,
            )

    def chosen(self, title: str, names: dict[str, list[str]]) -> dict[Any, Any]:
        """Another kind was chosen: what there is to choose of then, and the usual values."""
        choice = CHOICES[KIND_OF[title]]
        there = names.get(choice.of, [])
        return {
            self.of: gr.update(visible=bool(choice.of), choices=there, value=there[0] if there else None),
            self.values: gr.update(value=choice.usual, info=choice.hint, visible=title != NOTHING),
        }

    def set(self, kind: str, of: str, values: str, names: dict[str, list[str]]) -> dict[Any, Any]:
        """Fill it, as one of the ready-made comparisons does."""
        updates = self.chosen(CHOICES[kind].title, names)
        if of:
            updates[self.of] = gr.update(visible=True, choices=names[CHOICES[kind].of], value=of)
        updates[self.values] = gr.update(value=values, info=CHOICES[kind].hint, visible=bool(kind))
        return updates | {self.kind: CHOICES[kind].title}


def written(title: str, of: str | None, values: str, *, adapters: Sequence[str], runs: Sequence[str]) -> str | None:
    """The axis as `sdlora grid` takes it; None for nothing. Adapters and runs are ones that are listed, never paths.

    Raises `Error` for a name that there is not.
    """
    if title not in KIND_OF:
        raise Error(f"There is no axis {title!r}: choose one from the menu.")
    kind = KIND_OF[title]
    if not kind:
        return None
    known = {"adapters": adapters, "runs": runs}.get(CHOICES[kind].of, ())
    if kind == "weight" and not of:
        return f"{kind}={values}"
    if CHOICES[kind].of and of not in known:
        raise Error(f"Choose {'an adapter' if kind == 'weight' else 'a run'} for the axis {title!r}.")
    if kind == "adapter":
        for text in filter(None, texts(values)):
            if text != NONE and parse_weight(text)[0] not in adapters:
                raise Error(f"There is no adapter {text!r} in the library: write names as the library has them.")
    return f"{kind}:{of}={values}" if CHOICES[kind].of else f"{kind}={values}"
