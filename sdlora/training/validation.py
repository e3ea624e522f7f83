"""What is measured in between, with every random draw fixed: how good it is, what it learns by heart, how it drifts.

All draws are those of `Holdout`. The held-out loss says what an adapter does to pictures it never saw. The same loss on
some of the pictures it is trained on goes on falling when it begins to learn them by heart. Drift is how far it moves
what the base predicts for captions without the trigger.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..bases import Base
from ..data.cache import LatentCache
from ..data.captions import without_trigger
from ..data.latents import Viewing
from ..data.wording import Wording
from .config import ResolvedConfig
from .holdout import Holdout, Predict
from .injection import Parts, switched_off
from .material import Material

PROBED, NOISES = 6, 1  # images and noises a timestep for what needs no precision: a tenth of a measurement's time


@dataclass(frozen=True)
class Measured:
    """Mean losses, and by ten bands of the noise schedule, low t first; drift as a share of the base's own power."""

    loss: float
    bands: tuple[float, ...]
    train_loss: float
    train_bands: tuple[float, ...]
    drift: float | None

    @property
    def words(self) -> str:
        """The measurement in a line."""
        drift = "" if self.drift is None else f", drift {self.drift:.2%}"
        return f"held-out loss {self.loss:.4f}, on training images {self.train_loss:.4f}{drift}"

    def row(self) -> dict[str, Any]:
        """For `metrics.jsonl`."""
        found = {
            "holdout_loss": self.loss,
            "holdout_bands": self.bands,
            "train_loss": self.train_loss,
            "train_bands": self.train_bands,
        }
        return found | ({} if self.drift is None else {"drift": self.drift})


class Validation:
    """The fixed draws of a run, on held-out images and on a few of those it is trained on."""

    def __init__(
        self,
        base: Base,
        config: ResolvedConfig,
        material: Material,
        viewing: Viewing,
        wording: Wording,
        cache: LatentCache | None,
        *,
        encoder_trains: bool,
    ) -> None:
        common: dict[str, Any] = {"seed": config.seed, "encoder_trains": encoder_trains, "cache": cache}
        probed = material.train[:: max(1, len(material.train) // PROBED)][:PROBED]
        self._held = Holdout(base, material.holdout, viewing, wording=wording, **common)
        self._seen = Holdout(base, probed, viewing, wording=wording, noises=NOISES, **common)
        self._plain: Holdout | None = None
        if config.trigger:
            plain = [without_trigger(wording.plain(example), config.trigger) for example in probed]
            self._plain = Holdout(base, probed, viewing, captions=plain, noises=NOISES, **common)
        self._unmoved: list[Tensor] | None = None

    @torch.no_grad()
    def measure(self, predict: Predict, parts: Parts, device: torch.device) -> Measured:
        """With the adapter's layers as they are now."""
        held, seen = self._held.measure(predict, device), self._seen.measure(predict, device)
        drift = self._drift(self._plain, predict, parts, device) if self._plain else None
        return Measured(held.loss, held.bands, seen.loss, seen.bands, drift)

    def glance(self, predict: Predict, device: torch.device) -> float:
        """The held-out loss over a seventh of its draws, in a tenth of a measurement's time."""
        return self._held.glance(predict, device)

    def _drift(self, plain: Holdout, predict: Predict, parts: Parts, device: torch.device) -> float:
        if self._unmoved is None:
            with switched_off(parts):
                self._unmoved = plain.predictions(predict, device)
        moved = plain.predictions(predict, device)
        change = sum((a - b).square().sum() for a, b in zip(moved, self._unmoved, strict=True))
        return float(change / sum(b.square().sum() for b in self._unmoved))
