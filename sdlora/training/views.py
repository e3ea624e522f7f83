"""What a run shows of itself: metrics, samples, curve, report, trackers. It only looks: no bit of a training depends on
it. All of it is the main process's work."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from ..bases import Base
from ..errors import Error
from .config import ResolvedConfig
from .curve import write_curve
from .injection import Parts
from .material import Material
from .previews import Previews
from .progress import Reporter
from .report import write_report
from .report.dataset import write_dataset
from .run_folder import RunFolder
from .trackers import Trackers

PAGE_SHARE = 0.02  # of a run's time, at the most, goes into its page


class Views:
    """The views of one run. Prompts are encoded when it is made, so that a frozen text encoder can be let go."""

    def __init__(
        self,
        base: Base,
        config: ResolvedConfig,
        material: Material,
        run: RunFolder,
        reporter: Reporter,
        *,
        encoder_trains: bool,
    ) -> None:
        self._material, self._run, self._reporter = material, run, reporter
        reporter.keep_in(run.messages_file)
        self._previews = Previews(base, config, run.samples, reporter, encoder_trains=encoder_trains)
        self._trackers: Trackers | None = None
        self._written, self._took = 0.0, 0.0

    def begin(self, config: ResolvedConfig, step: int) -> None:
        """Before the steps beyond `step` are done, perhaps again; -1 where even step 0 was not done."""
        self._run.tidy(step)
        self._previews.forget_after(step)
        self._trackers = Trackers(config, self._run, step, self._reporter)
        self._try("dataset sheet", lambda: write_dataset(self._run, config, self._material))

    def row(self, step: int, row: Mapping[str, Any]) -> None:
        """Metrics of a step."""
        self._run.append_metrics({"step": step, **row})
        if self._trackers:
            self._trackers.row(step, row)

    def samples(self, step: int, parts: Parts) -> None:
        """Draw the sample images with the layers as they are now."""
        try:
            files = self._previews.draw(step, parts)
        except Error as problem:
            self._reporter.warn(f"the samples of step {step} can't be drawn: {problem}")
            return
        if self._trackers:
            self._trackers.pictures(step, files)

    def page(self, *, even_now: bool = False) -> None:
        """Write curve and report anew, if that takes only a small share of the time since they were written last."""
        started = time.perf_counter()
        if not even_now and started - self._written < self._took / PAGE_SHARE:
            return
        self._try("curve", lambda: write_curve(self._run.metrics(), self._run.curve_file))
        self._try("report", lambda: write_report(self._run))
        self._written = time.perf_counter()
        self._took = self._written - started

    def end(self) -> None:
        """The run ends, however it does, and its status says how."""
        self.page(even_now=True)
        if self._trackers:
            self._trackers.finish()

    def _try(self, what: str, write: Callable[[], object]) -> None:
        try:
            write()
        except Exception as problem:  # a view that can't be made must not end a training
            self._reporter.warn(f"the {what} can't be made: {problem}")
