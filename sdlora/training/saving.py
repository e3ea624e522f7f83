"""What a run saves: checkpoints, from which it goes on, and the adapter."""

import math
from dataclasses import replace
from pathlib import Path

from ..adapters import Adapter
from ..bases import Base
from .checkpoints import Checkpoint
from .config import ResolvedConfig
from .failures import not_finite
from .file_facts import file_metadata
from .judging import Best
from .keeping import publish, write
from .learning import Learning
from .material import Material
from .run_folder import RunFolder


class Saving:
    """The files of one run, written by the main process. `examples` is how many a step takes."""

    def __init__(
        self, run: RunFolder, config: ResolvedConfig, base: Base, material: Material, learning: Learning, examples: int
    ) -> None:
        self._run, self._config, self._base, self._material = run, config, base, material
        self._learning, self._examples = learning, examples

    def checkpoint(self, step: int, best: Best | None) -> None:
        """Write one, and remove older ones: all but the newest, the best and what the user keeps.

        Raises `Error` for weights that are no numbers: the newest checkpoint must be a good one.
        """
        if not self._learning.finite():
            raise not_finite("adapter", math.nan, step, self._run)
        self._write(step, best)
        also = (best.step if best else None, self._run.kept)
        Checkpoint.prune(self._run.checkpoints, self._config.keep_checkpoints, also)

    def last_good(self, step: int, best: Best | None) -> None:
        """What the last good step left, which is what the layers still hold. No other checkpoint makes room for it: it
        may be on its way to the trouble already."""
        done = step in (0, Checkpoint.newest_step(self._run.checkpoints))
        if not done and self._learning.finite():
            self._write(step, best)

    def adapter(self, step: int, learned: Adapter, *, finished: bool) -> Path:
        """The adapter of a step, in the run's folder; that of a finished run also among the workspace's."""
        run, metadata = self._run, self._metadata(step)
        write(run, replace(learned, metadata=metadata, family=self._base.family), self._config.save_dtype)
        return publish(run, Path(self._config.workspace) / "adapters") if finished else run.adapter_file

    def _write(self, step: int, best: Best | None) -> None:
        more = {"best": best.state()} if best else {}
        self._learning.checkpoint(step, self._metadata(step), **more).save(self._run.checkpoints)

    def _metadata(self, step: int) -> dict[str, str]:
        return file_metadata(self._config, self._base, self._material, self._run, step, step * self._examples)
