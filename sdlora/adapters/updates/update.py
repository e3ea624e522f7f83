"""What every kind of update can say about itself."""

import math
from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from ...errors import Error


class Update(ABC):
    """A change to one module's weight (and, for some kinds, its bias). Pure data: no model attached."""

    needs_weight: ClassVar[bool] = False  # whether ΔW depends on the weight's values, not on its shape alone
    mergeable: ClassVar[bool] = True  # whether there is a ΔW at all
    alpha: float | None  # None for the kinds that are not scaled by it

    @property
    @abstractmethod
    def kind(self) -> str:
        """The name that the field uses: `LoRA`, `LoCon`, `DoRA`, `LoHa`, …"""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...] | None:
        """The weight's shape that this was made for: (out, in) or (out, in, kh, kw), None where the parts do not tell.

        Kinds that may keep a convolution as one matrix then say (out, in·kh·kw).
        """

    @property
    def rank(self) -> int | None:
        """The rank; None for the kinds that have none."""
        return None

    @property
    def changes_bias(self) -> bool:
        """Whether there is a `bias_delta`: the module must have a bias then."""
        return False

    def fits(self, weight: Tensor) -> bool:
        """Whether ΔW has the weight's shape, trailing 1 × 1 kernels aside."""
        return self.shape is not None and without_unit_kernel(self.shape) == without_unit_kernel(tuple(weight.shape))

    def delta(self, weight: Tensor) -> Tensor:
        """ΔW in fp32 on the weight's device, in the shape of `weight`: (out, in) or (out, in, kh, kw).

        Raises `Error` when the update was made for a module of another shape.
        """
        if not self.fits(weight):
            raise Error(f"the update is for {self.made_for}, the module's weight is {tuple(weight.shape)}")
        return self._delta(weight).reshape(weight.shape)

    def bias_delta(self, bias: Tensor) -> Tensor | None:
        """What is added to the module's bias (out,), in fp32; None where the kind leaves biases alone."""
        return None

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """All there is to say, by the names that Kohya's and LyCORIS' files put after the module's own."""

    @property
    def made_for(self) -> str:
        """What it fits, in words."""
        return f"a weight {self.shape}"

    @abstractmethod
    def _delta(self, weight: Tensor) -> Tensor:
        """ΔW in fp32 for a weight that fits, in any shape that has the weight's values in their order."""


def without_unit_kernel(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(out, in) for (out, in, 1, 1): a 1 × 1 convolution and a linear layer hold the same numbers."""
    return shape[:2] if shape[2:] == (1, 1) else shape


def as_matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """(out, in·kh·kw): how some kinds keep a convolution."""
    return shape[0], math.prod(shape[1:])
