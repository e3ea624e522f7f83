"""What a person sees of a run: messages, and a bar with loss, speed, remaining time and memory. All on stderr."""

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Self, cast

import psutil
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .curve import SMOOTHING


class Reporter:
    """Prints where `visible`; a training in a second process of several stays silent."""

    def __init__(self, visible: bool = True) -> None:
        self.console = Console(stderr=True, quiet=not visible, highlight=False, soft_wrap=True)
        self._file: Path | None = None
        self._waiting: list[str] = []

    def say(self, text: str) -> None:
        self.console.print(text, markup=False)
        self._keep("note", text)

    def warn(self, text: str) -> None:
        self.console.print(f"warning: {text}", style="yellow", markup=False)
        self._keep("warning", text)

    def keep_in(self, file: Path) -> None:
        """From now on, write down in a run's `messages.jsonl` what is said, and what was said before."""
        self._file = file
        self._write()

    def _keep(self, level: str, text: str) -> None:
        self._waiting.append(json.dumps({"time": round(time.time(), 3), "level": level, "text": text}) + "\n")
        if self._file:
            self._write()

    def _write(self) -> None:
        with suppress(OSError):  # what can't be written down was said nevertheless
            with cast(Path, self._file).open("a", encoding="utf-8", newline="\n") as file:
                file.writelines(self._waiting)
            self._waiting.clear()


class StepBar:
    """A bar over optimiser steps."""

    def __init__(self, reporter: Reporter, steps: int, done: int, device: torch.device) -> None:
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}  {task.fields[speed]}  {task.fields[memory]}"),
            TimeRemainingColumn(),
            console=reporter.console,
            disable=reporter.console.quiet or not reporter.console.is_terminal,
        )
        self._task = self._progress.add_task("", total=steps, completed=done, loss="", speed="", memory="")
        self._device, self._average, self._weight = device, 0.0, 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def advance(self, loss: float, seconds: float) -> None:
        self._average = SMOOTHING * self._average + (1 - SMOOTHING) * loss
        self._weight = SMOOTHING * self._weight + 1 - SMOOTHING
        self._progress.update(
            self._task,
            advance=1,
            loss=f"{self._average / self._weight:.4f}",
            speed=f"{1 / seconds:.1f} steps/s" if seconds < 1 else f"{seconds:.1f} s/step",
            memory=f"{used_memory(self._device) / 2**30:.1f} GiB",
        )


def used_memory(device: torch.device) -> int:
    """Bytes: the most that a GPU held so far, or what this process holds on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return psutil.Process().memory_info().rss
