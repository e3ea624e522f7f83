"""Settings that a user gave and that change nothing in the run they are given for."""

from collections.abc import Collection, Iterator

from ..bases import Base
from .class_images import are_wanted
from .config import ResolvedConfig
from .learned_tokens import trains_token
from .material import Material
from .targets import text_encoder_trains


def without_effect(config: ResolvedConfig, asked: Collection[str], base: Base, material: Material) -> Iterator[str]:
    """A sentence for each, which is a warning and no refusal: a run's `config.toml`, which may be trained again, names
    all settings."""
    idle = {
        "text_encoder_learning_rate": (
            not text_encoder_trains(base.modules(), config.targets),
            "targets has nothing of the text encoder",
        ),
        "token_learning_rate": (not trains_token(config), "targets has no tokens"),
        "class_count": (not are_wanted(config), "there is neither class_prompt nor class_images"),
        "patience": (bool(config.patience) and not material.holdout, "no image is held out"),
    }
    for key, (has_none, why) in idle.items():
        if key in asked and has_none:
            yield f"{key} has no effect: {why}"
