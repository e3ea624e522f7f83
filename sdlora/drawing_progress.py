"""What a person sees while pictures are drawn: a bar with steps and remaining time, where stderr is a terminal."""

from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:  # so that the bar is there before all that it waits for is imported
    from .sampling.denoise import Step


class DrawingProgress:
    """A context, and an `on_step` within it. Until the first step it says that the base is being loaded."""

    def __init__(self, pictures: int = 1, *, visible: bool = True) -> None:
        self.pictures = pictures
        self._begun = 0
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[steps]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not visible or not console.is_terminal,
            transient=True,
            speed_estimate_period=600,  # seconds; on a CPU a step may take a minute
        )
        self._task = self._progress.add_task("loading the base", total=None, steps="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, step: "Step") -> None:
        """After each step of a picture, or of several at once; the first of its steps begins it."""
        at_once = len(step.latents)
        if step.index == 1:
            self._begun += at_once
        self._progress.update(
            self._task,
            description=f"picture {self._begun} of {self.pictures}" if self.pictures > 1 else "drawing",
            total=self.pictures,
            completed=self._begun - at_once * (1 - step.index / step.total),
            steps=f"step {step.index} of {step.total}",
        )
