"""Settings that a user gave and that change nothing in the run they are given for."""

from collections.abc import Collection

from ..bases import Base
from .class_images import are_wanted
from .config import ResolvedConfig
from .learned_tokens import TOKENS, trains_token
from .material import Material
from .targets import text_encoder_trains


def without_effect(config: ResolvedConfig, asked: Collection[str], base: Base, material: Material) -> list[str]:
    """A sentence for each, which is a warning and no refusal: a run's `config.toml`, which may be trained again, names
    all settings."""
    layers = [target for target in config.targets if target != TOKENS]
    idle = [
        ("text_encoder_learning_rate", not _has_encoder(base, layers), "targets has no layer of the text encoder"),
        ("token_learning_rate", not trains_token(config), "targets has no tokens"),
        ("class_count", not are_wanted(config), "there is neither class_prompt nor class_images"),
        ("patience", bool(config.patience) and not material.holdout, "no image is held out"),
        ("rank", config.kind == "full", "kind = full has no rank"),
        ("alpha", config.kind in ("full", "bottleneck"), f"kind = {config.kind} has no scale of its own"),
    ]
    return [f"{key} has no effect: {why}" for key, has_none, why in idle if key in asked and has_none]


def _has_encoder(base: Base, layers: list[str]) -> bool:
    return bool(layers) and text_encoder_trains(base.modules(), layers)
