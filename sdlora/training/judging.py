"""Which measurement of a run is the best, when it is time to end, and the warning that it learns by heart."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from .by_heart import begins_in, is_by_heart
from .config import ResolvedConfig
from .progress import Reporter
from .validation import Measured


@dataclass(frozen=True)
class Best:
    """The best measurement of a run so far: its step, what was measured, the adapter then, and how many measurements
    there were since."""

    step: int
    loss: float
    train_loss: float
    weights: dict[str, Tensor]
    since: int = 0

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return dict(vars(self))


class Judge:
    """Keeps the adapter of the best measurement, on the CPU."""

    def __init__(self, config: ResolvedConfig, reporter: Reporter) -> None:
        self._config, self._reporter = config, reporter
        self._warned = False
        self.best: Best | None = None

    def weigh(self, step: int, now: Measured, adapter: Mapping[str, Tensor]) -> None:
        """Take note of a measurement; `adapter` is kept where it is the best so far."""
        if self.best is None or now.loss < self.best.loss:
            weights = {key: tensor.detach().to("cpu", copy=True) for key, tensor in adapter.items()}
            self.best = Best(step, now.loss, now.train_loss, weights)
        else:
            self.best = replace(self.best, since=self.best.since + 1)

    def warn(self, step: int, now: Measured, rows: Iterable[dict[str, Any]]) -> None:
        """Say, once, that the run begins to learn by heart, and in which part of the noise; `rows` are its metrics."""
        best = self.best
        if best is None or self._warned or not is_by_heart(now.loss, now.train_loss, best.loss, best.train_loss):
            return
        self._warned = True
        part = begins_in(rows)
        where = f"; it began in {part.part.words}, at step {part.by_heart_since}" if part else ""
        self._reporter.warn(
            f"step {step}: it learns the training images by heart: the held-out loss is "
            f"{now.loss / best.loss - 1:.1%} above its best (step {best.step}), that of the training images falls"
            f"{where}"
        )

    @property
    def out_of_patience(self) -> bool:
        """Whether so many measurements in a row were no better that the run is to end."""
        return bool(self._config.patience and self.best and self.best.since >= self._config.patience)

    def chosen(self, step: int) -> Best | None:
        """The best step, where the adapter is to be that one's and not that of the last one, `step`."""
        best = self.best
        if best is not None and best.step == 0 and step:
            problem = "no measurement was better than the base's: the adapter did harm, see the learning rate"
            self._reporter.warn(problem)
        if self._config.choose == "last" or best is None or best.step in (0, step):
            return None
        self._reporter.say(f"the adapter is that of step {best.step}, the best by the held-out loss")
        return best
