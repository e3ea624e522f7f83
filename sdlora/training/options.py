"""`TrainConfig`'s fields as command-line options."""

import types
from typing import Any, get_args, get_origin

import click

from .config import TrainConfig


def schema_options() -> list[click.Option]:
    """One option a field; unset options are None, so that only what was given overrides a TOML file."""
    return [_option(name, field.annotation, field) for name, field in TrainConfig.model_fields.items()]


def _option(name: str, annotation: Any, field: Any) -> click.Option:
    flag = f"--{name.replace('_', '-')}"
    usual = None if field.is_required() else field.get_default(call_default_factory=True)
    default = "" if usual in (None, [], {}, "") else f" [default: {_shown(usual)}]"
    text = f"{field.description}{default}"
    if annotation is bool:
        return click.Option([f"{flag}/--no-{flag[2:]}", name], default=None, help=text)
    if name == "sample_prompts":
        return click.Option([flag, name], multiple=True, help=f"{text} (may be given repeatedly)")
    if any(get_origin(kind) is dict for kind in _types(annotation)):
        return click.Option([flag, name], multiple=True, metavar="KEY=VALUE", help=f"{text} (may be given repeatedly)")
    return click.Option([flag, name], metavar=_metavar(annotation), help=text)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _metavar(annotation: Any) -> str:
    """What kind of value an option takes, in a word."""
    choices = [a for a in _literals(annotation) if a != "auto"]
    if choices:
        return "|".join(choices)
    kinds = {int: "N", float: "X", bool: "true|false", str: "TEXT"}
    return next((word for kind, word in kinds.items() if kind in _types(annotation)), "TEXT")


def _literals(annotation: Any) -> list[str]:
    parts = get_args(annotation) if isinstance(annotation, types.UnionType) or get_args(annotation) else ()
    return [p for part in parts for p in ([part] if isinstance(part, str) else _literals(part))]


def _types(annotation: Any) -> set[Any]:
    parts = get_args(annotation)
    return {annotation} | {t for part in parts for t in _types(part)} if not isinstance(annotation, str) else set()
