"""What `sdlora grid` does: from axes as they are written to a sheet with its cells."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from .adapters.library import named
from .drawing_progress import DrawingProgress
from .errors import Error
from .mixing import Mixer
from .mixing.axis_kinds import read_axes
from .mixing.command import Say, Wanted
from .mixing.tags import read_tags
from .mixing.xyz import Cell
from .mixing.xyz_drawing import Grid, cells_folder, draw_grid
from .training.checkpoint_adapters import write_checkpoint_adapters
from .training.finding import find_run

VARIED = ("steps", "guidance", "sampler")


def draw_grid_file(
    wanted: Wanted, written: Sequence[str | None], out: Path | None, progress: DrawingProgress, *, say: Say, force: bool
) -> Grid:
    """Draw and save; `written` are the axes x, y and z, see `mixing.axis_kinds`.

    Raises `Error` for what a user can mend, before the base is loaded wherever that can be.
    """
    out = _free(out or wanted.workspace / "outputs" / f"{datetime.now():%Y%m%d-%H%M%S-%f}-grid.png", force)
    mix = wanted.mix(None)
    given = {key: value for key, value in wanted.drawing.items() if value is not None}
    seed = given.pop("seed", secrets.randbelow(2**32))
    cell = Cell(wanted.prompt or "", given.pop("negative", ""), seed, *(given.pop(key, None) for key in VARIED))
    for file in mix.adapters:
        cell = cell.weighing(file, None)
    with TemporaryDirectory() as folder:  # checkpoints hold more than adapters: these are written out of them

        def checkpoints(run: str, steps: Sequence[int] | None) -> Mapping[int, Path | None]:
            return write_checkpoint_adapters(find_run(run, wanted.workspace), steps, Path(folder))

        axes = read_axes(written, cell, library=wanted.library, checkpoints=checkpoints)
        plan = axes.plan(cell)
        for changed in plan:
            _check_tags(changed, wanted.library)
        mixer = Mixer(wanted.load(None, say), wanted.library, safety=wanted.safety, say=say)
        say(mixer.safety.state)
        progress.pictures = len(plan)
        return draw_grid(mixer, plan, axes, out, mix=mix, fixed=given, on_step=progress)


def _free(out: Path, force: bool) -> Path:
    """The file as asked for, once it is known that it may be written."""
    if out.suffix.lower() != ".png":
        raise Error(f"--out {out}: a grid is a .png")
    taken = next((path for path in (out, cells_folder(out)) if path.exists()), None)
    if taken and not force:
        raise Error(f"{taken} is there already: give another --out, or --force to overwrite it")
    return out


def _check_tags(cell: Cell, library: Path) -> None:
    """Raises `Error` for an adapter that a prompt names and that is neither in the mix nor in the library."""
    for tag in read_tags(cell.prompt).tags:
        if not any(Path(file).stem == tag.name for file, _ in cell.mix):
            named(tag.name, library)
