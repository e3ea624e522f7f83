"""Lion: steps of one size, in the direction of a momentum's sign."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class Lion(Optimizer):
    """Evolved sign momentum (Chen et al., 2023, arXiv:2302.06675): half of AdamW's state.

    c = β₁·m + (1 − β₁)·g; θ ← θ − lr·(sign(c) + λ·θ); m ← β₂·m + (1 − β₂)·g. Each number moves by the whole learning
    rate in each step, so that it has to be three to ten times smaller than AdamW's, and λ as much larger.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        if not all(0 <= beta < 1 for beta in betas) or len(betas) != 2:
            raise ValueError(f"betas = {betas} must be two numbers from 0 to 1")
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step, by the gradients that lie there; `closure` makes them anew first."""
        with torch.enable_grad():
            loss = closure() if closure else None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)
        return loss

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        momentum = state.setdefault("momentum", torch.zeros_like(parameter))
        first, second = group["betas"]
        direction = torch.lerp(gradient, momentum, first).sign_()
        parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(direction, alpha=-group["lr"])
        momentum.lerp_(gradient, 1 - second)
