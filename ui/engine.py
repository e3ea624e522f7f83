"""What the pages ask of the models: one base, shared by all tabs, with a mix set anew for every picture. No Gradio."""

import gc
import os
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet

import torch
from PIL import Image

from sdlora import Base, Error, Mixer, load_base
from sdlora.adapters.collection import Collection, Item
from sdlora.bases.found import find_bases
from sdlora.devices import pick_device
from sdlora.precision import fastest_dtype
from sdlora.resources import SAMPLE_ADAPTERS
from sdlora.sampling.defaults import SamplingDefaults, defaults_for
from sdlora.sampling.denoise import Step
from sdlora.sampling.preview import preview
from sdlora.training.device_lock import holder_of
from sdlora.workspace_settings import read_settings

from .device_thread import DeviceThread
from .drafts import Drafts
from .job import Job, Picture, Progress, Settings
from .runs import Dispatcher, RunQueue
from .runs.outcomes import keep_what_was_asked

Result = TypeVar("Result")
Tell = Callable[[Progress], None]
GLANCE = 0.5  # seconds from one preview to the next
MOST_WAITING = 64  # pictures that wait or are drawn, of all users together


class Busy(Error):
    """There is no room in the queue now; later there is."""


class Taken(Busy):
    """A training has the device; `run` names it."""

    def __init__(self, run: str) -> None:
        super().__init__(f"{run} is being trained and has the device: pause it, or wait until it has ended.")
        self.run = run


class Engine:
    """Draws pictures for a workspace: adapters from `adapters/`, pictures to `outputs/`, further bases in `bases/`.

    `library` holds the workspace's adapters, those of the folders that its `settings.toml` names, and the samples.

    With `listed_bases_only` a base must be one that lies here: others than the owner may be at the page, and what they
    type shall neither be looked up on the disk nor downloaded.
    """

    def __init__(self, workspace: Path, *, listed_bases_only: bool = False) -> None:
        self.workspace = workspace
        self.adapters_folder = workspace / "adapters"
        self.outputs = workspace / "outputs"
        self.listed_bases_only = listed_bases_only
        self.base_name = "mini"
        self._base: Base | None = None
        self._usual: dict[str, SamplingDefaults] = {}
        self._device = DeviceThread()
        self._settings = read_settings(workspace)
        self.library = Collection(self.adapters_folder, [*self._settings.folders_of_adapters(), SAMPLE_ADAPTERS])
        self._jobs: WeakSet[Job[Any]] = WeakSet()
        self._drafts = Drafts(self.outputs / "drafts")
        # a training and a picture never have the device at the same time
        self.runs = Dispatcher(RunQueue(workspace), self.let_go, lambda: self.drawing, self._keep)

    def bases(self) -> list[str]:
        """The bases on this computer, by the names that `usual` and `start` take."""
        return [base.name for base in find_bases(self._base_folders())]

    def groups(self) -> dict[str, str]:
        """The same -> the group of presets that suits it: `mini`, or its family."""
        found = find_bases(self._base_folders())
        return {base.name: "mini" if base.name == "mini" else base.family for base in found}

    def adapters(self) -> list[str]:
        """The ids of the library's adapters as they are now."""
        self.library.refresh()
        return [item.id for item in self.library.items() if self._stays_inside(item)]

    def trigger(self, name: str) -> str:
        """An adapter's trigger words, "" where none are known."""
        try:
            return self.library.item(name).trigger
        except Error:
            return ""

    def usual(self, base: str) -> SamplingDefaults:
        """What a base is best used with; it is loaded if it never was. Raises `Error` when it can't be."""
        return self.usual_later(base).result()

    def usual_later(self, base: str) -> Future[SamplingDefaults]:
        """The same for who does not wait for it."""
        self._check_base(base)
        if base not in self._usual:
            self._refuse_while_taken()
            return self._device.submit(lambda: self._known(base))
        known: Future[SamplingDefaults] = Future()
        known.set_result(self._usual[base])
        return known

    def start(self, settings: Settings) -> Job[Picture]:
        """Queue a picture. Raises `Error` at once for what can be told without the base."""
        settings.check()
        self._check_base(settings.base)
        self.check_adapters(settings.adapters())
        return self._queue(lambda job: self._draw(settings, job))

    def work(self, base: str, task: Callable[[Mixer, Tell], Result]) -> Job[Result]:
        """Queue something else on a base: a grid, an export. `task` tells how far it is, see `Job.tell`."""
        self._check_base(base)

        def run(job: Job[Result]) -> Result:
            job.tell(Progress("loading"))
            return task(Mixer(self._load(base), self.library), job.tell)

        return self._queue(run)

    def check_adapters(self, names: set[str]) -> None:
        """Raises `Error` for a name that there is not. It is looked for in the library, never followed as a path."""
        if unknown := names - set(self.adapters()):
            raise Error(f"The adapter {min(unknown)} is no longer in the library: take it out of the mix.")

    def close(self) -> None:
        """Cancel whatever is drawn or waits. Trainings go on."""
        self.runs.close()
        for job in list(self._jobs):
            job.cancel()

    @property
    def drawing(self) -> bool:
        """Whether anything is drawn or waits for it."""
        return self._device.length > 0

    @property
    def on_gpu(self) -> bool:
        """Whether there is more than a CPU."""
        return pick_device().type != "cpu"

    def on_device(self, work: Callable[[], Result]) -> Result:
        """Have something else done when it is its turn, and wait for it. Raises `Taken` while a training has it."""
        self._refuse_while_taken()
        return self._device.submit(work).result()

    def let_go(self) -> None:
        """Draw what waits, then free the device of the base: a training is about to have it."""
        self._device.submit(self._forget).result()

    def _keep(self, run: str) -> None:
        """A run has left the queue."""
        keep_what_was_asked(self.runs.queue, run)
        self.library.refresh()

    def _known(self, base: str) -> SamplingDefaults:
        self._load(base)
        return self._usual[base]

    def _forget(self) -> None:
        self._base = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _refuse_while_taken(self) -> None:
        if run := self.runs.holder():
            raise Taken(run)
        holder = holder_of(str(pick_device()))
        if holder and holder.pid != os.getpid():  # a training that a command line began can't be asked for room
            raise Busy(f"The device is taken: {holder}. Wait until it has ended, or stop it.")

    def _queue(self, work: Callable[[Job[Result]], Result]) -> Job[Result]:
        self._refuse_while_taken()
        if self._device.length >= MOST_WAITING:
            raise Busy(f"{MOST_WAITING} pictures wait already: try again in a while.")
        job = Job(self._device, work)
        self._jobs.add(job)
        return job

    def _stays_inside(self, item: Item) -> bool:
        """Whether an adapter's file lies in its folder itself; a link to elsewhere would open any file."""
        return not item.path.is_symlink() or item.path.resolve().is_relative_to(item.folder.resolve())

    def _base_folders(self) -> list[Path]:
        return [Path("models"), self.workspace / "bases", *self._settings.folders_of_bases()]

    def _check_base(self, name: str) -> None:
        if not name:
            raise Error("No base is chosen: pick one from the list.")
        if self.listed_bases_only and name not in self.bases():
            raise Error(f"There is no base {name!r} on this computer: pick one from the list.")

    def _draw(self, settings: Settings, job: Job[Picture]) -> Picture:
        """On the device's thread: everything from the base to the file."""
        job.tell(Progress("loading"))
        try:
            mixer = Mixer(self._load(settings.base), self.library)
            mixer.set(settings.mix, settings.mode, equalise=settings.equalise)
            clock, glimpses = Clock(), Glimpses(mixer.base)
            [picture] = mixer.generate(
                settings.prompt,
                settings.negative,
                settings.seed,
                steps=settings.steps,
                guidance=settings.guidance,
                sampler=settings.sampler,
                size=settings.size,
                clip_skip=settings.clip_skip,
                image=settings.image,
                strength=settings.strength,
                second_pass=settings.second_pass,
                on_step=lambda step: job.tell(replace(clock.progress(step), preview=glimpses.at(step))),
            )
        except torch.OutOfMemoryError:
            raise Error("The device ran out of memory: choose a smaller size, or close other programs.") from None
        seed = picture.parameters.seed
        name = f"{datetime.now():%Y%m%d-%H%M%S-%f}-{seed}.png"
        path = picture.save(self._drafts.place(name) if settings.draft else self.outputs / name)
        return Picture(path, str(picture.parameters), seed)

    def _load(self, name: str) -> Base:
        """The base, loaded unless it is the one at hand. The other is let go first: two may not fit."""
        if self._base is None or self.base_name != name:
            self._base = None
            gc.collect()
            device = pick_device()
            self._base = load_base(name, device=device, dtype=fastest_dtype(device))
            self.base_name = name
            self._usual[name] = defaults_for(self._base)
        return self._base


class Clock:
    """Tells from the steps done how long the rest will take."""

    def __init__(self) -> None:
        self._first: float | None = None

    def progress(self, step: Step) -> Progress:
        """The first step is left out of the reckoning: it warms up the device."""
        now = time.monotonic()
        if self._first is None:
            self._first = now
            return Progress("drawing", step.index, step.total)
        seconds = (now - self._first) / (step.index - 1) * (step.total - step.index)
        return Progress("drawing", step.index, step.total, seconds)


class Glimpses:
    """How the picture looks on the way, made anew every `GLANCE` seconds at most: a fast GPU has no time for more."""

    def __init__(self, base: Base) -> None:
        self._base = base
        self._due = time.monotonic() + GLANCE
        self._latest: Image.Image | None = None

    def at(self, step: Step) -> Image.Image | None:
        """The latest preview; None before the first."""
        if time.monotonic() >= self._due:
            self._latest = preview(self._base, step.foreseen)
            self._due = time.monotonic() + GLANCE
        return self._latest
