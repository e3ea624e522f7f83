"""Dropout that does not depend on how examples are split into batches."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .randomness import derived_seed


class ExampleDropout:
    """Sets a share of each example's input to zero, and scales the rest up (Srivastava et al., 2014).

    What is dropped follows from `key` (the run's seed and the layer) and from what the example is called alone: it is
    the same whatever the batch split, after a resume, and when gradient checkpointing computes it again.
    """

    def __init__(self, share: float, key: tuple[object, ...] = ()) -> None:
        self.share, self.key = share, key
        self.examples: Sequence[object] = ()

    @torch.compiler.disable
    def __call__(self, x: Tensor) -> Tensor:
        """(n, …) -> (n, …), for the n examples that were named in `examples`."""
        if not self.share:
            return x
        kept = 1 - self.share
        masks = torch.empty(x.shape, device=x.device)
        for mask, example in zip(masks, self.examples, strict=True):
            seed = derived_seed(*self.key, "dropout", example)
            mask.bernoulli_(kept, generator=torch.Generator(x.device).manual_seed(seed))
        return x * (masks / kept).to(x.dtype)
