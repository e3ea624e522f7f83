"""What every trained part of a model has in common."""

from collections.abc import Sequence

from torch import Tensor, nn


class Part(nn.Module):
    """Something with weights that are trained, in fp32: a layer, learned tokens, …

    What it has learned counts `factor` times; where it is not `enabled`, the model is the frozen one, bit for bit.
    """

    def __init__(self) -> None:
        super().__init__()
        self.enabled = True
        self.factor = 1.0

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """The trained weights by name, without a dot in it: the part's own parameters."""
        return dict(self.named_parameters(recurse=False))

    @property
    def constants(self) -> dict[str, Tensor]:
        """What is not trained and yet needed to say what was learned: the part's own buffers, kept in checkpoints."""
        return dict(self.named_buffers(recurse=False))

    def about(self, examples: Sequence[object]) -> None:
        """Be told which examples the next forward pass is about."""
