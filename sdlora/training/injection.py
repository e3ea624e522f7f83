"""Putting trainable layers in the place of frozen ones, and taking them out again."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import nn

from ..adapters.updates import LoRA
from ..bases import Base
from .lora_layers import LoRAConv2d, LoRALayer, LoRALinear
from .randomness import generator

Layers = dict[str, LoRALayer]


def inject(base: Base, paths: Sequence[str], *, rank: int, alpha: float, dropout: float = 0.0, seed: int = 0) -> Layers:
    """Replace the modules at `paths` by trainable low-rank layers around them; returns these by module path.

    The first forward equals the base's bit for bit. A layer's random start follows from the seed and its path alone.
    """
    modules = base.modules()
    places = _places(base)
    layers: Layers = {}
    for path in paths:
        module = modules[path]
        own = generator(seed, "start", path)
        if isinstance(module, nn.Conv2d):
            layers[path] = LoRAConv2d(module, rank, alpha, dropout, own)
        elif isinstance(module, nn.Linear):
            layers[path] = LoRALinear(module, rank, alpha, dropout, own)
        layers[path].dropout.key = (seed, path)
        parent, attribute = places[module]
        setattr(parent, attribute, layers[path])
    return layers


def eject(base: Base, layers: Mapping[str, LoRALayer]) -> None:
    """The exact inverse of `inject`: the very same module objects are back in their places."""
    places = _places(base)
    for layer in layers.values():
        parent, attribute = places[layer]
        setattr(parent, attribute, layer.base)


@contextmanager
def switched_off(layers: Mapping[str, LoRALayer]) -> Iterator[None]:
    """Within it, the layers answer as the frozen ones in them do."""
    for layer in layers.values():
        layer.enabled = False
    try:
        yield
    finally:
        for layer in layers.values():
            layer.enabled = True


@contextmanager
def weighed(layers: Mapping[str, LoRALayer], weight: float) -> Iterator[None]:
    """Within it, the layers add `weight` times what they have learned; at 0 they answer as the frozen ones do."""
    if weight == 0:
        with switched_off(layers):
            yield
        return
    scales = {layer: layer.scale for layer in layers.values()}
    for layer, scale in scales.items():
        layer.scale = weight * scale
    try:
        yield
    finally:
        for layer, scale in scales.items():
            layer.scale = scale


def name_examples(layers: Mapping[str, LoRALayer], examples: Sequence[object]) -> None:
    """Tell the layers which examples the next forward pass is about: what they drop out depends on it."""
    for layer in layers.values():
        layer.dropout.examples = examples


def updates_of(layers: Mapping[str, LoRALayer]) -> dict[str, LoRA]:
    """What the layers have learned, as data."""
    return {path: layer.as_update() for path, layer in layers.items()}


def _places(base: Base) -> dict[nn.Module, tuple[nn.Module, str]]:
    """Module -> the parent that holds it and under which name."""

    def walk() -> Iterator[tuple[nn.Module, tuple[nn.Module, str]]]:
        for root in (base.unet, *base.text_encoders):
            for parent in root.modules():
                for attribute, child in parent.named_children():
                    yield child, (parent, attribute)

    return dict(walk())
