"""Which timesteps a training sees how often."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Timesteps:
    """The share of the noise schedule from `first` to `last` (both in [0, 1]), and how it is spread over it.

    `uniform`; `logit_normal`, the logistic of a normal number with `mean` and `std` (Esser et al., 2024,
    arXiv:2403.03206): the middle most; `low`, `high`: a density that falls, or rises, in a straight line from 2 to 0.
    """

    first: float = 0.0
    last: float = 1.0
    distribution: str = "uniform"
    mean: float = 0.0
    std: float = 1.0

    def spread(self, positions: Tensor) -> Tensor:
        """Uniform positions in [0, 1), in fp64, through the inverse of the distribution function: what was stratified
        stays so, since equal parts of [0, 1) become parts that are met equally often."""
        return self.first + (self.last - self.first) * self._quantile(positions)

    def _quantile(self, positions: Tensor) -> Tensor:
        match self.distribution:
            case "logit_normal":
                return torch.sigmoid(self.mean + self.std * torch.special.ndtri(positions))
            case "low":
                return 1 - (1 - positions).sqrt()
            case "high":
                return positions.sqrt()
        return positions


EVENLY = Timesteps()
