"""`TrainConfig`'s fields as a form: what kind of input each needs, and what its text means. No Gradio."""

import re
import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from sdlora.errors import Error
from sdlora.training.config import TrainConfig

Kind = Literal["choice", "lines", "text"]
SHOWN = (
    *("name", "trigger", "base", "preset"),
    *("kind", "steps", "resolution", "rank", "learning_rate", "text_encoder_learning_rate"),
)
# What the page asks for otherwise, and what would let who types at the page read or run what is on this computer.
ELSEWHERE = ("images", "holdout", "class_images", "workspace", "trackers")
OPTIMISERS = ("adamw", "adamw8bit", "adafactor", "lion", "prodigy", "schedule-free")
AS_THEY_ARE = ("caption_prefix", "caption_suffix")  # their spaces count
ON, OFF = "on", "off"


@dataclass(frozen=True)
class Field:
    """A setting: `choices` for a choice, `usual` what stands where nothing is given, both as text."""

    key: str
    help: str
    kind: Kind
    choices: tuple[str, ...]
    usual: str
    is_list: bool

    @property
    def label(self) -> str:
        """`learning_rate` as people read it."""
        return self.key.replace("_", " ").capitalize()

    @property
    def _overrules(self) -> bool:
        """Whether the usual value is typed to overrule a preset: such a field is empty until somebody types."""
        return self.kind != "choice" and self.key not in SHOWN

    def text(self, value: Any) -> str:
        """A value as it stands in the form; "" where it is the usual one."""
        text = _text(value)
        return "" if text == self.usual and not self._overrules else text

    def value(self, text: str | None) -> Any:
        """What the form's text means; None where nothing is given."""
        text = (text or "").strip() if self.key not in AS_THEY_ARE else text or ""
        if not text or (text == self.usual and not self._overrules):
            return None
        if text in (ON, OFF) and ON in self.choices:
            return text == ON
        if self.kind == "lines":
            return [line.strip() for line in text.splitlines() if line.strip()]
        return [part.strip() for part in re.split(r"[,\n]", text) if part.strip()] if self.is_list else text


def all_fields() -> dict[str, Field]:
    """Every setting that the form has, by key, in the schema's order."""
    return {key: _field(key, info) for key, info in TrainConfig.model_fields.items() if key not in ELSEWHERE}


def advanced() -> list[Field]:
    """Those that are not shown at once."""
    return [field for key, field in all_fields().items() if key not in SHOWN]


def read_form(texts: Mapping[str, str | None], **given: Any) -> TrainConfig:
    """The config of a form's texts, by key, and of what is `given` as it is.

    Raises `Error` for a value that can't be, and for prompts and adapters that name a file.
    """
    fields = all_fields()
    values = {key: fields[key].value(text) for key, text in texts.items()}
    values = {key: value for key, value in values.items() if value is not None} | given
    prompts = values.get("sample_prompts")
    if isinstance(prompts, list) and len(prompts) == 1 and prompts[0].lower().endswith(".txt"):
        raise Error("The sample prompts are a file's name: write the prompts themselves, one a line.")
    for text in values.get("merged") or ():
        if Path(text).name != text:
            raise Error(f"{text} is the place of a file: to be merged, give an adapter of the library by its name.")
    if not str(values.get("name") or "").strip():
        raise Error("The adapter has no name: give it one.")
    return TrainConfig(**values)


def form_of(config: TrainConfig) -> dict[str, str]:
    """A config's explicit settings as a form's texts, "" for all others."""
    fields = all_fields()
    return {
        key: field.text(getattr(config, key)) if key in config.model_fields_set else "" for key, field in fields.items()
    }


def _field(key: str, info: Any) -> Field:
    usual = None if info.is_required() else info.get_default(call_default_factory=True)
    choices = OPTIMISERS if key == "optimiser" else _choices(info.annotation)
    kinds = _kinds(info.annotation)
    many = dict in kinds or key == "sample_prompts"
    kind: Kind = "lines" if many else "choice" if choices else "text"
    return Field(key, str(info.description), kind, choices, _text(usual), list in kinds and not many)


def _choices(annotation: Any) -> tuple[str, ...]:
    """All that a field may be, where that is a short list."""
    kinds = _kinds(annotation)
    literals = tuple(_literals(annotation))
    if bool in kinds:
        return (*literals, ON, OFF)
    return literals if literals and not kinds - {str} and literals != ("auto",) else ()


def _literals(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return [str(part) for part in get_args(annotation)]
    return [text for part in _parts(annotation) for text in _literals(part)]


def _kinds(annotation: Any) -> set[Any]:
    """The plain types in a field's annotation."""
    if get_origin(annotation) is Literal or annotation is type(None):
        return set()
    if parts := _parts(annotation):
        return {kind for part in parts for kind in _kinds(part)}
    origin = get_origin(annotation)
    return {origin or annotation}


def _parts(annotation: Any) -> tuple[Any, ...]:
    """What a union or an annotated type is made of."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return get_args(annotation)
    return get_args(annotation)[:1] if hasattr(annotation, "__metadata__") else ()


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return ON if value else OFF
    if isinstance(value, dict):
        return "\n".join(f"{key}={_argument(one)}" for key, one in value.items())
    if isinstance(value, list):
        return ("\n" if any("," in str(one) or " " in str(one) for one in value) else ", ").join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _argument(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
