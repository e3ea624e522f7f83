"""What the pages ask of the models: one base, shared by all tabs, with a mix set anew for every picture. No Gradio."""

import gc
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from weakref import WeakSet

import torch
from PIL import Image

from sdlora import Adapter, Base, Error, Mixer, load_base
from sdlora.adapters import library
from sdlora.adapters.formats.header import glance
from sdlora.bases.found import find_bases
from sdlora.devices import pick_device
from sdlora.precision import fastest_dtype
from sdlora.sampling.defaults import SamplingDefaults, defaults_for
from sdlora.sampling.denoise import Step
from sdlora.sampling.preview import preview

from .device_thread import DeviceThread
from .drafts import Drafts
from .job import Job, Picture, Progress, Settings

GLANCE = 0.5  # seconds from one preview to the next
MOST_WAITING = 64  # pictures that wait or are drawn, of all users together


class Busy(Error):
    """There is no room in the queue now; later there is."""


class Engine:
    """Draws pictures for a workspace: adapters from `adapters/`, pictures to `outputs/`, further bases in `bases/`.

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
        self._jobs: WeakSet[Job] = WeakSet()
        self._drafts = Drafts(self.outputs / "drafts")

    def bases(self) -> list[str]:
        """The bases on this computer, by the names that `usual` and `start` take."""
        return [base.name for base in find_bases([Path("models"), self.workspace / "bases"])]

    def adapters(self) -> list[str]:
        """The names of the workspace's adapters as they are now."""
        return [name for name in library.names(self.adapters_folder) if self._stays_inside(name)]

    def trigger(self, name: str) -> str:
        """An adapter's trigger words, "" where its file tells none. Reads the header alone."""
        try:
            _, metadata = glance(library.find(name, self.adapters_folder))
        except (Error, OSError):
            return ""
        return str(Adapter(name, {}, metadata=metadata).trigger or "")

    def usual(self, base: str) -> SamplingDefaults:
        """What a base is best used with; it is loaded if it never was. Raises `Error` when it can't be."""
        self._check_base(base)
        if base not in self._usual:
            self._device.submit(lambda: self._load(base)).result()
        return self._usual[base]

    def start(self, settings: Settings) -> Job:
        """Queue a picture. Raises `Error` at once for what can be told without the base."""
        settings.check()
        self._check_base(settings.base)
        # A name is looked for among the folder's files: it must never be followed as a path.
        if unknown := settings.adapters() - set(self.adapters()):
            raise Error(f"The adapter {min(unknown)} is no longer in {self.adapters_folder.name}/: press Refresh.")
        if self._device.length >= MOST_WAITING:
            raise Busy(f"{MOST_WAITING} pictures wait already: try again in a while.")
        job = Job(self._device, lambda job: self._draw(settings, job))
        self._jobs.add(job)
        return job

    def close(self) -> None:
        """Cancel whatever is drawn or waits."""
        for job in list(self._jobs):
            job.cancel()

    def _stays_inside(self, name: str) -> bool:
        """Whether an adapter's file lies in the folder itself; a link to elsewhere would open any file."""
        file = self.adapters_folder / f"{name}{library.SUFFIX}"
        return not file.is_symlink() or file.resolve().is_relative_to(self.adapters_folder.resolve())

    def _check_base(self, name: str) -> None:
        if not name:
            raise Error("No base is chosen: pick one from the list.")
        if self.listed_bases_only and name not in self.bases():
            raise Error(f"There is no base {name!r} on this computer: pick one from the list.")

    def _draw(self, settings: Settings, job: Job) -> Picture:
        """On the device's thread: everything from the base to the file."""
        job.tell(Progress("loading"))
        try:
            mixer = Mixer(self._load(settings.base), library=self.adapters_folder)
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
