"""What a training changes: the adapter's weights, their optimiser, its learning rate, and the weights' average."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from .adaptive_rank import RankBudget
from .checkpoints import Checkpoint
from .config import ResolvedConfig
from .ema import MovingAverage
from .injection import Parts
from .learning_rate import make_schedule
from .optimiser import averages_itself, make_optimiser, shown_rate, training_mode


class Learning:
    """The trainable weights, and all that they become from step to step.

    Where weights are averaged (`ema`, or an optimiser that does so itself), the average is the adapter: what is
    validated, drawn and saved. The weights that are trained on are put back afterwards as the very same bits, so that
    looking never changes a training.
    """

    def __init__(self, parts: Parts, config: ResolvedConfig, device: torch.device, scaler: Any = None) -> None:
        self.optimiser = make_optimiser(parts, config, device)
        self._weights: dict[str, Tensor] = {
            f"{path}.{name}": weight for path, part in parts.items() for name, weight in part.weights.items()
        }
        self._constants = {
            f"{path}.{name}": tensor for path, part in parts.items() for name, tensor in part.constants.items()
        }
        self._schedule = make_schedule(self.optimiser, config)
        self._average = MovingAverage(self.parameters, config.ema) if config.ema else None
        self._stateful: dict[str, Any] = {"optimizer": self.optimiser, "schedule": self._schedule}
        self._stateful |= {"scaler": scaler} if scaler else {}
        self._done = 0
        if config.adaptive_rank:
            budget = RankBudget.of(parts.values(), config.steps)
            self.optimiser.register_step_post_hook(lambda *_: budget.after(self._done + 1))
        training_mode(self.optimiser)

    @property
    def parameters(self) -> list[Tensor]:
        """The weights that are trained."""
        return list(self._weights.values())

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return shown_rate(self.optimiser)

    def stepped(self, step: int) -> None:
        """After the optimiser's step number `step`, from 1 on."""
        self._done = step
        self._schedule.step()
        if self._average:
            self._average.update(step)

    @contextmanager
    def adapter(self) -> Iterator[dict[str, Tensor]]:
        """Within it, the parts hold the adapter: {path}.{name} to fp32, constants with the weights."""
        if not (self._average or averages_itself(self.optimiser)):
            yield self._weights | self._constants
            return
        trained = [weight.detach().clone() for weight in self.parameters]
        with torch.no_grad():
            if self._average:
                torch._foreach_copy_(self.parameters, self._average.values)
            else:
                self.optimiser.eval()  # type: ignore[attr-defined]
        try:
            yield self._weights | self._constants
        finally:
            training_mode(self.optimiser)
            with torch.no_grad():
                torch._foreach_copy_(self.parameters, trained)

    def finite(self) -> bool:
        """Whether all weights are numbers."""
        with self.adapter() as adapter:
            averaged = all(weight.isfinite().all() for weight in adapter.values())
        return averaged and all(weight.isfinite().all() for weight in self.parameters)

    def checkpoint(self, step: int, metadata: Mapping[str, str] | None = None, **more: dict[str, Any]) -> Checkpoint:
        """Everything that it takes to go on from here, and `more` states; its `weights` are the adapter, of whose file
        the `metadata` is."""
        states: dict[str, dict[str, Any]] = {name: part.state_dict() for name, part in self._stateful.items()}
        with self.adapter() as adapter:
            weights = {key: weight.detach().clone() for key, weight in adapter.items()}
        if any(not torch.equal(weights[key], weight) for key, weight in self._weights.items()):
            states["trained"] = dict(self._weights)
        return Checkpoint(step, weights, states | more, dict(metadata or {}))

    @torch.no_grad()
    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from there."""
        self._done = checkpoint.step
        trained = checkpoint.states.get("trained", checkpoint.weights)
        for key, weight in self._weights.items():
            weight.copy_(trained[key])
        for key, constant in self._constants.items():
            constant.copy_(checkpoint.weights[key])
        if self._average:
            averaged = [checkpoint.weights[key].to(w.device) for key, w in self._weights.items()]
            torch._foreach_copy_(self._average.values, averaged)
        for name, part in self._stateful.items():
            part.load_state_dict(checkpoint.states[name])
        self._set_rates()
        training_mode(self.optimiser)

    def _set_rates(self) -> None:
        """Those of the schedule as it is now: a run that was lengthened has another one than when it was saved."""
        schedule = self._schedule
        for group, base, curve in zip(self.optimiser.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True):
            group["lr"] = base * curve(schedule.last_epoch)
