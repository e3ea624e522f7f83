"""One press of Generate: what is asked for, what is told on the way, and the way to stop it."""

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal, TypeVar

from PIL import Image

from sdlora.errors import Error
from sdlora.mixing.mix import Given
from sdlora.mixing.modes import Mode
from sdlora.mixing.tags import read_tags
from sdlora.sampling.denoise import Cancelled
from sdlora.sampling.recipe import SecondPass

from .device_thread import DeviceThread

Result = TypeVar("Result")
MOST_STEPS, LARGEST_SIDE, LONGEST_PROMPT, LARGEST_SEED, LARGEST_WEIGHT = 150, 2048, 4000, 2**32 - 1, 100
POLL = 0.5  # seconds between two looks at the queue, while others are before us


@dataclass(frozen=True)
class Settings:
    """All that a picture follows from. `mix` is {library name: weight or table of weights}, as `Mixer.set` takes it;
    None is the base's own size, a random seed.

    `image` is a picture to draw over, `strength` how much of it is drawn anew. A `draft` is a first look, whose file is
    not kept for long.
    """

    base: str
    mix: Mapping[str, Given]
    prompt: str
    negative: str
    seed: int | None
    steps: int
    guidance: float
    sampler: str
    width: int | None
    height: int | None
    clip_skip: int = 1
    image: Image.Image | None = None
    strength: float | None = None
    second_pass: SecondPass | None = None
    mode: Mode = "blend"
    equalise: bool = False
    draft: bool = False

    def check(self) -> None:
        """Raises `Error` for what would keep the device busy for hours, or fill its memory."""
        if not 1 <= self.steps <= MOST_STEPS:
            raise Error(f"steps is {self.steps}: give 1 to {MOST_STEPS}")
        times = self.second_pass.scale if self.second_pass else 1.0
        if not max(self.width or 0, self.height or 0) * times <= LARGEST_SIDE:  # not so for NaN either
            raise Error(f"size {self.width}x{self.height}: a side has at most {LARGEST_SIDE} pixels")
        if self.second_pass and not (self.second_pass.steps or 0) <= MOST_STEPS:
            raise Error(f"steps of the second pass are {self.second_pass.steps}: give at most {MOST_STEPS}")
        if not math.isfinite(self.guidance):
            raise Error(f"guidance is {self.guidance}: give a finite number")
        self._check_prompts()
        if self.seed is not None and not 0 <= self.seed <= LARGEST_SEED:
            raise Error(f"seed is {self.seed}: give 0 to {LARGEST_SEED}, or nothing for a random one")

    def adapters(self) -> set[str]:
        """The library names that the mix and the prompt's tags ask for. Raises `Error` for a tag that is none."""
        return {*self.mix, *(tag.name for tag in read_tags(self.prompt).tags)}

    def _check_prompts(self) -> None:
        for text in (self.prompt, self.negative):
            if len(text) > LONGEST_PROMPT:
                raise Error(f"the prompt is too long: give at most {LONGEST_PROMPT} characters")
            # halves of characters and control characters can't be written into a picture's metadata
            if any(not (c >= " " or c in "\n\r\t") or "\ud800" <= c <= "\udfff" for c in text):
                raise Error("the prompt has a control character or half a character in it: type it anew")
        for tag in read_tags(self.prompt).tags:
            if not max(abs(tag.text), abs(tag.unet)) <= LARGEST_WEIGHT:
                raise Error(f"the tag {tag} has a weight beyond {LARGEST_WEIGHT}: give a smaller one")

    @property
    def size(self) -> tuple[int, int] | int | None:
        """(width, height) in pixels; a side given alone makes a square."""
        return (self.width, self.height) if self.width and self.height else self.width or self.height


@dataclass(frozen=True)
class Progress:
    """Where a job stands. `done` and `total` are steps, or what `unit` says; while waiting `total` is how many come
    before; 0 is unknown.

    `preview` is how the picture looked when somebody last looked.
    """

    stage: Literal["waiting", "loading", "drawing"]
    done: int = 0
    total: int = 0
    seconds_left: float | None = None
    preview: Image.Image | None = field(default=None, compare=False)
    unit: str = "step"


@dataclass(frozen=True)
class Picture:
    """A finished picture's file, the parameters that are in it as text, and its seed."""

    path: Path
    parameters: str
    seed: int = 0


class Job(Generic[Result]):
    """Hands `work` to the device and lets another thread follow it, stop it, and take its result."""

    def __init__(self, device: DeviceThread, work: Callable[["Job[Result]"], Result]) -> None:
        self._device = device
        self._stop = threading.Event()
        self._news = threading.Event()
        self._latest = Progress("waiting")
        self._future = device.submit(lambda: work(self))
        self._future.add_done_callback(lambda _: self._news.set())

    def tell(self, progress: Progress) -> None:
        """Called by the work, on the device's thread. Raises `Cancelled` if the job has been."""
        if self._stop.is_set():
            raise Cancelled
        self._latest = progress
        self._news.set()

    @property
    def done(self) -> bool:
        """Whether it is over, well or not."""
        return self._future.done()

    @property
    def progress(self) -> Progress:
        """Where it stands now."""
        if self._latest.stage == "waiting":
            return Progress("waiting", total=self._device.ahead_of(self._future))
        return self._latest

    def watch(self) -> Iterator[Progress]:
        """What changes, until the job is over; what a slow reader misses is left out. An abandoned job is cancelled."""
        seen: Progress | None = None
        try:
            while not self._future.done():
                if (now := self.progress) != seen:
                    seen = now
                    yield now
                self._news.wait(POLL)
                self._news.clear()
        finally:
            self.cancel()

    def result(self) -> Result:
        """What came of it. Raises `Cancelled`, or what the work raised."""
        try:
            return self._future.result()
        except CancelledError:
            raise Cancelled from None

    def cancel(self) -> None:
        """Stop before the next step; a job that still waits is over at once."""
        self._stop.set()
        self._future.cancel()
