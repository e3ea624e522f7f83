"""All that a run trains, put into its base and taken out again."""

from ..bases import Base
from .config import ResolvedConfig
from .injection import Parts, eject, inject
from .layers import Layer, Part, Plan
from .learned_tokens import put_tokens, take_tokens_out
from .targets import layers_of


def put_in(base: Base, config: ResolvedConfig) -> dict[str, Part]:
    """Trainable layers by module path, and the learned token. The base answers as before, bit for bit, but for a token
    that begins as another word than it is."""
    layers = inject(base, layers_of(base.modules(), config.kind, config.targets), Plan.of(config))
    return {**layers, **put_tokens(base, config)}


def take_out(base: Base, parts: Parts) -> None:
    """The exact inverse."""
    eject(base, {path: part for path, part in parts.items() if isinstance(part, Layer)})
    take_tokens_out(base, parts)
