"""What `sdlora generate` does: from words on a command line to picture files."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from ..adapters import library as adapter_library
from ..bases import Base, load_base
from ..bases.found import find_bases
from ..devices import pick_device
from ..errors import Error
from ..pictures import FORMATS
from ..precision import fastest_dtype
from ..sampling.denoise import OnStep
from ..sampling.memory import load_within
from .generated import GeneratedImage, model_name
from .like import Likeness, check_image, differences, read_likeness
from .mix import Given
from .mix_file import MixFile, read_mix
from .mixer import Mixer
from .modes import Mode
from .tags import read_tags

Say = Callable[[str], None]
NOTHING = MixFile({}, "blend", equalise=False)


@dataclass(frozen=True)
class Wanted:
    """A generation as it was asked for. `drawing` are keywords of `Mixer.generate`; what is unset is as in the picture
    `like`, if there is one, or the base's usual. `adapters` come on top of the mix file's or that picture's."""

    prompt: str | None
    adapters: Sequence[str]
    drawing: Mapping[str, Any]
    base: str | None
    device: str
    prediction_type: str | None
    workspace: Path
    vae: str | None = None
    zero_terminal_snr: bool | None = None
    safety: bool | None = None
    mode: Mode | None = None
    equalise: bool = False
    mix_file: Path | None = None
    like: Path | None = None

    @property
    def library(self) -> Path:
        return self.workspace / "adapters"

    def likeness(self) -> Likeness | None:
        """What the picture `like` says, checked against the input image."""
        if self.like is None:
            return None
        found = read_likeness(self.like)
        check_image(self.like, found, self.drawing.get("image"))
        return found

    def mix(self, like: Likeness | None) -> MixFile:
        """The whole mix."""
        start = MixFile(like.mix, like.mode, equalise=False) if like else NOTHING
        if self.mix_file:
            saved = read_mix(self.mix_file, self.library)
            start = saved._replace(adapters=start.adapters | saved.adapters)
        return gathered(start, self.adapters, self.library, self.mode, equalise=self.equalise)

    def load(self, like: Likeness | None, say: Say) -> Base:
        """The base, in the precision that the picture was made in or else the fastest."""
        device = pick_device(self.device)
        name = self.base or (_base_like(like, self.workspace) if like else "mini")
        dtype = getattr(torch, like.dtype, None) if like and like.dtype else None
        settings: dict[str, Any] = {
            "dtype": dtype or fastest_dtype(device),
            "prediction_type": self.prediction_type,
            "zero_terminal_snr": self.zero_terminal_snr,
            "vae": self.vae,
        }
        return load_within(lambda where: load_base(name, device=where, **settings), device, say)


def generate_files(
    wanted: Wanted, out: Path | None, *, say: Say, on_step: OnStep | None = None
) -> tuple[list[Path], list[GeneratedImage]]:
    """Draw and save; returns the files and the pictures. Raises `Error` for what a user can mend."""
    like = wanted.likeness()
    mix = wanted.mix(like)
    prompt = wanted.prompt if wanted.prompt is not None else like.prompt if like else None
    if prompt is None:
        raise Error("there is no prompt: give one, or a picture with --like")
    for tag in read_tags(prompt).tags:
        if not any(Path(file).stem == tag.name for file in mix.adapters):
            adapter_library.named(tag.name, wanted.library)
    base = wanted.load(like, say)
    mixer = Mixer(base, wanted.library, safety=wanted.safety, say=say)
    say(mixer.safety.state)
    mixer.set(mix.adapters, mix.mode, equalise=mix.equalise)
    if mixer.passes > 1:
        say(f"composite asks the UNet once for each adapter: {mixer.passes} passes a step")
    if like and wanted.like:
        for sentence in differences(wanted.like, like, base, wanted.library):
            say(sentence)
    given = {key: value for key, value in wanted.drawing.items() if value is not None}
    pictures = mixer.generate(prompt, **((like.settings if like else {}) | given), on_step=on_step)
    return [picture.save(_target(out, wanted.workspace, picture, len(pictures))) for picture in pictures], pictures


def gathered(start: MixFile, adapters: Sequence[str], library: Path, mode: Mode | None, *, equalise: bool) -> MixFile:
    """A mix by files, with what flags say on top: an adapter of the same name takes the other's place, and its weights
    too where it is given without. Files are found here: a wrong name should not cost the time to load a base."""
    mix = dict(start.adapters)
    for text in adapters:
        name, weights = parse_adapter(text)
        same = [key for key in mix if Path(key).stem == Path(name).stem]
        had = [mix.pop(key) for key in same]
        mix[name] = had[0] if had and name == text else weights
    found = {str(adapter_library.find(name, library)): weights for name, weights in mix.items()}
    return MixFile(found, mode or start.mode, equalise or start.equalise)


def parse_adapter(text: str) -> tuple[str, Given]:
    """`FILE_OR_NAME[:WEIGHT]`, or a tag as in a prompt."""
    if not text.startswith("<"):
        return adapter_library.parse_weight(text)
    tags = read_tags(text).tags
    if len(tags) != 1:
        raise Error(f"--adapter {text!r}: give FILE_OR_NAME:WEIGHT, or one tag such as <lora:NAME:WEIGHT>")
    return tags[0].name, tags[0].given()


def parse_size(text: str | None) -> tuple[int, int] | None:
    """`512` or `512x768` -> (width, height)."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)(?:[x×](\d+))?", text.strip().lower())
    if match is None:
        raise Error(f"--size {text!r}: give a side (512) or WIDTHxHEIGHT (512x768)")
    width = int(match[1])
    return width, int(match[2] or width)


def _base_like(like: Likeness, workspace: Path) -> str:
    """The base of that name on this computer."""
    for found in find_bases([Path("models"), workspace / "bases"]):
        if like.base == model_name(found.name):
            return found.name
    raise Error(f"the base {like.base!r} ({like.base_hash}) is not among those found here: name it with --base")


def _target(out: Path | None, workspace: Path, picture: GeneratedImage, pictures: int) -> Path:
    """The file as asked for, numbered by seed where there are several; else a new one in a folder."""
    seed = picture.parameters.seed
    if out is not None and out.suffix.lower() in FORMATS:
        return out if pictures == 1 else out.with_stem(f"{out.stem}-{seed}")
    folder = out or workspace / "outputs"
    return folder / f"{datetime.now():%Y%m%d-%H%M%S-%f}-{seed}.png"
