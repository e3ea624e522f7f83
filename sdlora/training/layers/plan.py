"""What layers a training makes."""

from dataclasses import dataclass

import torch

from ..config import ResolvedConfig
from ..randomness import generator


@dataclass(frozen=True)
class Plan:
    """How the layers of a run are made; everything about a layer follows from this and its module path."""

    rank: int
    alpha: float
    rank_stabilised: bool = False
    dropout: float = 0.0
    seed: int = 0

    @classmethod
    def of(cls, config: ResolvedConfig) -> "Plan":
        """A config's."""
        return cls(config.rank, config.alpha, config.rank_stabilised, config.dropout, config.seed)

    def rank_of(self, path: str) -> int:
        """The rank of a module's update."""
        return self.rank

    def scale_of(self, path: str) -> float:
        """What a module's update is scaled by."""
        return self.alpha / (self.rank_of(path) ** 0.5 if self.rank_stabilised else self.rank)

    def random(self, path: str) -> torch.Generator:
        """Where a layer's random start comes from: the seed and the path alone."""
        return generator(self.seed, "start", path)
