"""What a running training does when memory runs out: it keeps what it has learned, takes a rung, and goes on."""

from accelerate import Accelerator

from ..bases import Base
from ..errors import Error
from .config import ResolvedConfig
from .config_values import budget_of
from .memory_ladder import LADDER, Place, explicit, gib, in_words
from .memory_use import held_memory, hold_to
from .preparation import save_memory
from .progress import Reporter
from .run_folder import RunFolder


class Relief:
    """Of one run, on its base. On a CPU nothing enforces a budget: that it was exceeded is only told."""

    def __init__(
        self,
        config: ResolvedConfig,
        run: RunFolder,
        base: Base,
        accelerator: Accelerator,
        reporter: Reporter,
        *,
        encoder_trains: bool,
    ) -> None:
        self._run, self._base, self._reporter, self._encoder_trains = run, base, reporter, encoder_trains
        self._device, self._alone = accelerator.device, accelerator.num_processes == 1
        self._told = False
        hold_to(budget_of(config.memory), self._device)

    def next_rung(self, config: ResolvedConfig, step: int) -> ResolvedConfig:
        """The config to go on with, which is the run's from now on; the base is made ready for it.

        Raises `Error` where there is no rung left, or where it is not for one process to decide.
        """
        place = Place(self._base, self._device, explicit(self._run.asked()))
        for rung in LADDER if self._alone and config.memory != "off" else ():
            changes = rung.changes(config)
            if changes and rung.on_the_way and rung.saves(place) > 0 and not rung.skipped(config, place):
                changed = config.model_copy(update=changes)
                save_memory(self._base, changed, encoder_trains=self._encoder_trains)
                self._run.change_config(changed)
                self._reporter.warn(
                    f"step {step}: memory ran out, so it goes on with {in_words(changes)}: {rung.cost}; nothing is lost"
                )
                return changed
        raise Error(self._at_the_end(config, step))

    def look(self, config: ResolvedConfig, step: int) -> None:
        """Say once that a CPU's budget is exceeded."""
        budget = budget_of(config.memory)
        if self._told or budget is None or self._device.type != "cpu":
            return
        if (held := held_memory(self._device)) > budget:
            self._told = True
            self._reporter.warn(f"step {step}: the process holds {gib(held)}, more than memory = {config.memory}")

    def _at_the_end(self, config: ResolvedConfig, step: int) -> str:
        reason = (
            "of several processes none may change how it works"
            if not self._alone
            else "memory = off changes nothing"
            if config.memory == "off"
            else "there is nothing left that would save some"
        )
        keeps = "which loses no step" if self._alone else "from its last checkpoint"
        return (
            f"Memory is not enough for step {step} of {self._run.name}, and {reason}: close other programs and go on "
            f"with --resume {self._run.name}, {keeps}, or start anew with a lower resolution or rank"
        )
