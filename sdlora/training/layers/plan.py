"""What layers a training makes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from ..by_block import value_at
from ..config import ResolvedConfig
from ..randomness import generator


@dataclass(frozen=True)
class Plan:
    """How the layers of a run are made; everything about a layer follows from this and its module path.

    `block_ranks` are ranks by module-path prefix. They change no scale: that stays alpha / rank, unless it is to fall
    with the square root of each rank (`rank_stabilised`).
    """

    rank: int
    alpha: float
    rank_stabilised: bool = False
    dropout: float = 0.0
    seed: int = 0
    kind: str = "lora"
    lokr_factor: int = 8
    block_ranks: Mapping[str, int] = field(default_factory=dict)
    start: str = "usual"
    adaptive: bool = False

    @classmethod
    def of(cls, config: ResolvedConfig) -> "Plan":
        """A config's."""
        return cls(
            config.rank,
            config.alpha,
            config.rank_stabilised,
            config.dropout,
            config.seed,
            config.kind,
            config.lokr_factor,
            config.block_ranks,
            config.start,
            config.adaptive_rank,
        )

    def rank_of(self, path: str) -> int:
        """The rank of a module's update."""
        return value_at(path, self.block_ranks) or self.rank

    def scale_of(self, path: str) -> float:
        """What a module's update is scaled by."""
        return self.alpha / (self.rank_of(path) ** 0.5 if self.rank_stabilised else self.rank)

    def random(self, path: str) -> torch.Generator:
        """Where a layer's random start comes from: the seed and the path alone."""
        return generator(self.seed, "start", path)
