"""Putting trainable layers in the place of frozen ones, and taking them out again."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import cast

from torch import nn

from ..adapters.updates import Update
from ..bases import Base
from .layers import Layer, Part, Plan, layer_for, of_one_alpha

Layers = dict[str, Layer]
Parts = Mapping[str, Part]


def inject(base: Base, paths: Sequence[str], plan: Plan) -> Layers:
    """Replace the modules at `paths` by trainable layers around them; returns these by module path.

    The first forward equals the base's bit for bit. A layer's random start follows from the seed and its path alone.
    """
    modules = base.modules()
    places = _places(base)
    layers: Layers = {}
    for path in paths:
        module = cast(nn.Linear | nn.Conv2d, modules[path])
        layers[path] = layer_for(module, plan, path)
        parent, attribute = places[module]
        setattr(parent, attribute, layers[path])
    return layers


def eject(base: Base, layers: Mapping[str, Layer]) -> None:
    """The exact inverse of `inject`: the very same module objects are back in their places."""
    places = _places(base)
    for layer in layers.values():
        parent, attribute = places[layer]
        setattr(parent, attribute, layer.base)


@contextmanager
def switched_off(parts: Parts) -> Iterator[None]:
    """Within it, the model answers as the frozen one does."""
    for part in parts.values():
        part.enabled = False
    try:
        yield
    finally:
        for part in parts.values():
            part.enabled = True


@contextmanager
def weighed(parts: Parts, weight: float) -> Iterator[None]:
    """Within it, the parts count `weight` times what they have learned; at 0 the model answers as the frozen one."""
    if weight == 0:
        with switched_off(parts):
            yield
        return
    for part in parts.values():
        part.factor = weight
    try:
        yield
    finally:
        for part in parts.values():
            part.factor = 1.0


def name_examples(parts: Parts, examples: Sequence[object]) -> None:
    """Tell the parts which examples the next forward pass is about: what they drop out depends on it."""
    for part in parts.values():
        part.about(examples)


def updates_of(parts: Parts) -> dict[str, Update]:
    """What the layers among the parts have learned, as data."""
    return of_one_alpha({path: part.as_update() for path, part in parts.items() if isinstance(part, Layer)})


def _places(base: Base) -> dict[nn.Module, tuple[nn.Module, str]]:
    """Module -> the parent that holds it and under which name."""

    def walk() -> Iterator[tuple[nn.Module, tuple[nn.Module, str]]]:
        for root in (base.unet, *base.text_encoders):
            for parent in root.modules():
                for attribute, child in parent.named_children():
                    yield child, (parent, attribute)

    return dict(walk())
