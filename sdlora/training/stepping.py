"""One optimiser step: forward and backward passes over its examples, clipping, and the optimiser's own step."""

import math
from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .config import ResolvedConfig
from .failures import not_finite
from .learning import Learning
from .objective import Objective
from .run_folder import RunFolder


class Stepping:
    """The steps of one run. `keep` saves what the last good step left; it is called before a step is refused.

    `broken` says that the optimiser's own step was begun and not ended: some weights may be new and some old.
    """

    def __init__(
        self,
        config: ResolvedConfig,
        run: RunFolder,
        model: nn.Module,
        objective: Objective,
        learning: Learning,
        accelerator: Accelerator,
        keep: Callable[[], None],
    ) -> None:
        self._config, self._run, self._keep = config, run, keep
        self._objective, self._learning, self._accelerator = objective, learning, accelerator
        self.broken = False
        learning.optimiser.register_step_pre_hook(lambda *_: setattr(self, "broken", True))
        learning.optimiser.register_step_post_hook(lambda *_: setattr(self, "broken", False))
        self._network = model
        self._model, self._optimiser = accelerator.prepare(model, learning.optimiser)
        if isinstance(self._model, DistributedDataParallel):
            # Buffers, which all processes have alike, would be sent at each forward pass, and processes make different
            # numbers of these: not each has one of the prior's pictures in each step. They would wait for ever.
            self._model.broadcast_buffers = False

    def step(self, done: int) -> tuple[float, float]:
        """The step after `done` ones, over accumulation × batch examples of each process; mean loss, gradient norm.

        Raises `Error` for a loss or a gradient that is no number.
        """
        if not self._network.training:  # it costs a hundredth of a step to ask hundreds of modules
            self._network.train()
        accelerator, losses = self._accelerator, []
        for part in range(self._config.gradient_accumulation):
            with accelerator.accumulate(self._model):
                losses.append(self._objective.loss(self._model, self._indices(done, part)))
                accelerator.backward(losses[-1])
                losses[-1] = losses[-1].detach()
                if accelerator.sync_gradients:
                    loss, norm = self._clipped(losses, done + 1)
                self._optimiser.step()
                self._optimiser.zero_grad()
        self._learning.stepped(done + 1)
        return loss, norm

    def start_over(self, config: ResolvedConfig) -> None:
        """After a step that was broken off: nothing is left of it, and the next one is taken as this config says."""
        self._learning.optimiser.zero_grad()
        self._accelerator.step = 0  # counts the passes since the last optimiser step
        self._accelerator.gradient_accumulation_steps = config.gradient_accumulation
        self._config = config

    @property
    def examples(self) -> int:
        """How many a step takes, of all processes."""
        return self._config.batch_size * self._config.gradient_accumulation * self._accelerator.num_processes

    def _indices(self, done: int, part: int) -> range:
        """Global example indices of this process in one forward pass of a step."""
        size, accelerator = self._config.batch_size, self._accelerator
        start = done * self.examples + (part * accelerator.num_processes + accelerator.process_index) * size
        return range(start, start + size)

    def _clipped(self, losses: list[Tensor], step: int) -> tuple[float, float]:
        """Clip the gradients; the mean loss of all processes and the gradients' norm before.

        The only moment of a step that waits for a GPU.
        """
        norm = self._accelerator.clip_grad_norm_(self._learning.parameters, self._config.max_grad_norm)
        loss = self._accelerator.reduce(torch.stack(losses).mean(), "mean")
        numbers = torch.stack([loss.float(), norm.float()]).tolist()
        self._refuse_nan("loss", numbers[0], step)
        if self._config.precision != "fp16":  # there the loss scaler finds and skips such steps
            self._refuse_nan("gradient", numbers[1], step)
        return numbers[0], numbers[1]

    def _refuse_nan(self, what: str, value: float, step: int) -> None:
        if not math.isfinite(value):
            self._keep()
            raise not_finite(what, value, step, self._run)
