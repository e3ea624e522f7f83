"""Sample pictures of a kit: given ones copied as they are, or drawn ones; each with the prompt that made it."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..errors import Error
from ..files import write_atomically
from ..pictures import FORMATS, open_picture

TAG = re.compile(r"\s*<lora:[^>]*>")


@dataclass(frozen=True)
class Sample:
    """A picture of the kit; `prompt` is "" where the picture does not tell what it was made from."""

    path: Path
    prompt: str


@dataclass(frozen=True)
class Drawing:
    """Samples to draw: `count` pictures of `prompt` (unset: the trigger words) on `base`."""

    count: int
    base: str
    prompt: str | None = None
    device: str = "auto"


def copy_samples(files: Sequence[Path], folder: Path, name: str) -> list[Sample]:
    """The pictures as `{name}-1.png`, … in `folder`, their bytes unchanged, so that generation metadata stay in them.

    Raises `Error` for what is no picture that a page can show; nothing is written then.
    """
    prompts = [_prompt_of(file) for file in files]
    samples = []
    for number, (file, prompt) in enumerate(zip(files, prompts, strict=True), start=1):
        target = folder / f"{name}-{number}{file.suffix.lower()}"
        write_atomically(target, partial(shutil.copyfile, file))
        samples.append(Sample(target, prompt))
    return samples


def draw_samples(
    adapter: Path, folder: Path, prompt: str, weight: float, drawing: Drawing, first: int = 1
) -> list[Sample]:
    """Pictures of `prompt` with the adapter, of seeds 0, 1, …, with generation metadata in them.

    They are numbered from `first`. Raises `Error` when the adapter does not go on the base.
    """
    from ..bases import load_base
    from ..devices import pick_device
    from ..mixing import Mixer
    from ..precision import fastest_dtype

    device = pick_device(drawing.device)
    mixer = Mixer(load_base(drawing.base, device=device, dtype=fastest_dtype(device)))
    mixer.set({str(adapter): weight})
    pictures = mixer.generate(prompt, seed=0, count=drawing.count)
    return [
        Sample(picture.save(folder / f"{adapter.stem}-{number}.png"), prompt)
        for number, picture in enumerate(pictures, start=first)
    ]


def _prompt_of(file: Path) -> str:
    """The prompt in a picture's generation metadata, without its tags for adapters."""
    if file.suffix.lower() not in FORMATS:
        raise Error(f"{file} can't be a sample: give pictures that end in {', '.join(FORMATS)}")
    _, text = open_picture(file)
    prompt = re.split(r"^(?:Negative prompt|Steps): ", text, maxsplit=1, flags=re.MULTILINE)[0]
    return TAG.sub("", prompt).strip()
