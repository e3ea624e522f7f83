"""From the axes to a sheet on disk, as work for the device."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sdlora import Mixer
from sdlora.errors import Error
from sdlora.mixing.axis_kinds import read_axes
from sdlora.mixing.mix_file import MixFile
from sdlora.mixing.tags import read_tags
from sdlora.mixing.xyz import Cell
from sdlora.mixing.xyz_drawing import Grid, draw_grid
from sdlora.sampling.denoise import Step
from sdlora.training.checkpoint_adapters import write_checkpoint_adapters
from sdlora.training.run_folder import RunFolder

from ..engine import Engine, Glimpses, Tell
from ..job import Job, Progress, Settings

MOST_CELLS = 200


def start_grid(engine: Engine, settings: Settings, axes_written: Sequence[str | None], folder: Path) -> Job[Grid]:
    """Queue the pictures of all values on up to three axes, everything else being as in `settings`. Checkpoints are
    written out as adapters into `folder`, which must stay until the job is over.

    Raises `Error` for what can be told without the base.
    """
    settings.check()
    engine.check_adapters(settings.adapters())
    cell = Cell(
        settings.prompt, settings.negative, settings.seed or 0, settings.steps, settings.guidance, settings.sampler
    )
    files = {str(engine.library.path(name)): given for name, given in settings.mix.items()}
    for file in files:
        cell = cell.weighing(file, None)

    def checkpoints(run: str, steps: Sequence[int] | None) -> Mapping[int, Path | None]:
        return write_checkpoint_adapters(RunFolder(engine.workspace / "runs" / run), steps, folder)

    axes = read_axes(axes_written, cell, library=engine.library, checkpoints=checkpoints)
    plan = axes.plan(cell)
    if len(plan) > MOST_CELLS:
        raise Error(f"These are {len(plan)} pictures, and at most {MOST_CELLS} are drawn at once: give fewer values.")
    for changed in plan:
        _check(engine, settings, changed)
    out = engine.outputs / f"{datetime.now():%Y%m%d-%H%M%S-%f}-grid.png"
    fixed: dict[str, Any] = {"size": settings.size, "clip_skip": settings.clip_skip}
    mix = MixFile(files, settings.mode, settings.equalise)

    def task(mixer: Mixer, tell: Tell) -> Grid:
        return draw_grid(mixer, plan, axes, out, mix=mix, fixed=fixed, on_step=_Teller(mixer, tell, len(plan)))

    return engine.work(settings.base, task)


def _check(engine: Engine, settings: Settings, cell: Cell) -> None:
    """Within the same limits as a picture of Mix; adapters that a prompt names are in the library."""
    varied = {key: getattr(cell, key) for key in ("prompt", "negative", "seed", "steps", "guidance", "sampler")}
    Settings(**{**vars(settings), **varied}).check()
    if tags := read_tags(cell.prompt).tags:
        engine.check_adapters({tag.name for tag in tags})


class _Teller:
    """Tells how far the whole grid is: pictures of different numbers of steps count alike."""

    def __init__(self, mixer: Mixer, tell: Tell, pictures: int) -> None:
        self._tell, self._pictures = tell, pictures
        self._glimpses = Glimpses(mixer.base)
        self._done, self._began = 0, time.monotonic()

    def __call__(self, step: Step) -> None:
        share = self._done + step.index / step.total
        left = (time.monotonic() - self._began) / share * (self._pictures - share)
        self._done += step.index == step.total
        at = min(self._done + 1, self._pictures)
        self._tell(Progress("drawing", at, self._pictures, left, self._glimpses.at(step), unit="picture"))
