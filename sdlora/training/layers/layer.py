"""A trainable layer in the place of a frozen one."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ...adapters.updates import Update
from ..example_dropout import ExampleDropout
from .part import Part
from .plan import Plan


class Layer(Part, ABC):
    """A frozen layer plus a trainable update. At first the layer is the frozen one, bit for bit."""

    base: nn.Linear | nn.Conv2d

    def __init__(self, base: nn.Linear | nn.Conv2d, plan: Plan, path: str) -> None:
        super().__init__()
        self.base = base
        self.scale = plan.scale_of(path)
        self.dropout = ExampleDropout(plan.dropout, (plan.seed, path))
        device = base.weight.device
        for name, start in self._starts(plan, path).items():
            self.register_parameter(name, nn.Parameter(start.to(device, torch.float32).contiguous()))

    @abstractmethod
    def _starts(self, plan: Plan, path: str) -> dict[str, Tensor]:
        """The trained weights by name, as they are before the first step."""

    @abstractmethod
    def _change(self, x: Tensor, out: Tensor) -> Tensor:
        """What is added to `out`, the frozen layer's output."""

    @staticmethod
    @abstractmethod
    def update_of(weights: Mapping[str, Tensor], scale: float) -> Update:
        """The update that weights and constants by these names make."""

    def forward(self, x: Tensor, *args: object, **kwargs: object) -> Tensor:
        out = self.base(x, *args, **kwargs)
        return out + self._change(self.dropout(x) if self.training else x, out) if self.enabled else out

    def as_update(self) -> Update:
        """The update as data, a copy on the CPU."""
        own = {**self.weights, **self.constants}
        copies = {name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in own.items()}
        return self.update_of(copies, self.scale)

    def about(self, examples: Sequence[object]) -> None:
        """What is dropped out depends on them."""
        self.dropout.examples = examples
