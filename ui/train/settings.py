"""The part of the Train page with the settings of a new run, all of them made from `TrainConfig`'s schema."""

from collections.abc import Mapping
from typing import Any

import gradio as gr

from sdlora.training.config import TrainConfig

from .estimate import presets
from .fields import Field, advanced, all_fields, form_of, read_form
from .images import Updates

LABELS = {
    "trigger": "Trigger word",
    "learning_rate": "Learning rate",
    "text_encoder_learning_rate": "Text encoder's learning rate",
}
HINTS = {
    "name": "of the adapter: its file, and its tag in prompts",
    "trigger": "calls the style up; stands in where an image has no caption",
    "preset": "what is set for it where a field is empty",
    "kind": "lora suits nearly always",
    "text_encoder_learning_rate": "0: it is left as it is",
}
SEARCH = """
<label for='setting-search'>Search the settings</label>
<input id='setting-search' type='search' placeholder='captions, memory, samples …' autocomplete='off'>
<p class='facts hidden' role='status'>No setting has these words.</p>"""
# In the browser alone: what does not hold the words that are looked for is hidden.
HIDE_OTHERS = """element.addEventListener('input', (event) => {
  const wanted = event.target.value.toLowerCase().split(' ').filter(Boolean);
  let found = 0;
  document.querySelectorAll('#advanced-settings .setting').forEach((setting) => {
    const text = (setting.id.replaceAll('_', ' ') + ' ' + setting.textContent).toLowerCase();
    const hit = wanted.every((word) => text.includes(word));
    setting.classList.toggle('not-found', !hit);
    found += hit;
  });
  element.querySelector('.facts').classList.toggle('hidden', found > 0);
});"""


class Settings:
    """A field for each setting: some at once, the rest under Advanced."""

    def __init__(self) -> None:
        self._fields = all_fields()
        self.parts: dict[str, Any] = {}
        with gr.Group(elem_id="train-settings"):
            with gr.Row(elem_classes="tight"):
                self._shown("name", gr.Textbox, placeholder="ink")
                self._shown("trigger", gr.Textbox, placeholder="ink drawing")
            with gr.Row(elem_classes="tight"):
                self._shown("base", gr.Dropdown, choices=["mini"], value="mini")
                self._shown("preset", gr.Dropdown, choices=presets("mini"), value="style")
                kind = self._fields["kind"]
                self._shown("kind", gr.Dropdown, choices=list(kind.choices), value=kind.usual, min_width=90)
            with gr.Row(elem_classes="tight"):
                for key in ("steps", "resolution", "rank"):
                    self._shown(key, gr.Textbox, placeholder="auto", min_width=90)
            with gr.Row(elem_classes="tight"):
                for key in ("learning_rate", "text_encoder_learning_rate"):
                    self._shown(key, gr.Textbox, placeholder="auto", min_width=140)
        with gr.Accordion("Advanced", open=False, elem_id="advanced"):
            gr.HTML(SEARCH, js_on_load=HIDE_OTHERS, container=False, elem_id="setting-finder")
            with gr.Column(elem_id="advanced-settings"):
                for field in advanced():
                    self.parts[field.key] = _part(field)
        self.inputs = set(self.parts.values())

    def read(self, values: Mapping[Any, Any], **given: Any) -> TrainConfig:
        """The config that the form says. Raises `Error` for what can't be."""
        texts = {key: _as_text(values[part]) for key, part in self.parts.items()}
        return read_form(texts, **given)

    def fill(self, config: TrainConfig) -> Updates:
        """The form with a config's explicit settings."""
        texts = form_of(config)
        texts |= {"base": config.base, "preset": config.preset}
        return {part: texts[key] or _empty(self._fields[key]) for key, part in self.parts.items()}

    def open(self, bases: Mapping[str, str], base: str) -> Updates:
        """The bases on this computer (name -> group), and the presets that there are for the chosen one."""
        chosen = base if base in bases else "mini"
        return {
            self.parts["base"]: gr.update(choices=list(bases), value=chosen),
            self.parts["preset"]: gr.update(choices=presets(bases.get(chosen, "mini"))),
        }

    def _shown(self, key: str, kind: Any, **options: Any) -> None:
        field = self._fields[key]
        label = LABELS.get(key, field.label)
        info = HINTS.get(key)
        self.parts[key] = kind(label=label, info=info, elem_id=f"train-{key}", **{"min_width": 150} | options)


def _part(field: Field) -> Any:
    """One setting of those under Advanced."""
    common: dict[str, Any] = {
        "label": field.label,
        "info": field.help,
        "elem_id": f"set-{field.key}",
        "elem_classes": "setting",
    }
    if field.kind == "choice":
        return gr.Dropdown(list(field.choices), value=field.usual or None, **common)
    lines = 2 if field.kind == "lines" else 1
    return gr.Textbox("", placeholder=field.usual or "none", lines=lines, max_lines=8, **common)


def _empty(field: Field) -> str | None:
    """What stands in the field where nothing is given."""
    return "" if field.kind != "choice" else field.usual or None


def _as_text(value: Any) -> str | None:
    return None if value is None else str(value)
