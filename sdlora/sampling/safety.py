"""Safety checkers: the one that a base carries (diffusers' own for SD 1.x), or anybody's function."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..bases import Base
from ..bases.folder import load_component, read_json
from ..bases.hub import HUB_ID, download_checker
from ..errors import Error

Check = Callable[[Image.Image], bool]  # a picture -> whether it is unsafe
CHECKER, PREPARATION = "safety_checker", "feature_extractor"  # as diffusers' folders are called


@dataclass(frozen=True)
class Safety:
    """`state` is the sentence to print; `check` says of a picture whether it is unsafe, None where nobody looks."""

    state: str
    check: Check | None = None

    def screened(self, picture: Image.Image) -> tuple[Image.Image, bool]:
        """The picture, or a black one of its size where it is unsafe, as diffusers does; and whether it was."""
        if self.check is None or not self.check(picture):
            return picture, False
        return Image.new("RGB", picture.size), True


def safety_of(base: Base, wanted: bool | Check | None = None) -> Safety:
    """The safety checker for a base's pictures: a function of one's own; with True the base's, with None the base's
    where it is on this computer, with False none.

    The base's own is read when it is first asked. Raises `Error` for True where the base has none.
    """
    if callable(wanted):
        return Safety("safety checker: on (one that was plugged in)", wanted)
    if wanted is False:
        return Safety("safety checker: off (as asked for)")
    folder, name = base.folder, Path(base.path).name
    if folder and not _holds_checker(folder) and _on_hub(base, folder):
        if not wanted:
            return Safety(f"safety checker: off (that of {name} was not fetched; --safety does)")
        folder = download_checker(base.path, revision=folder.name)  # a snapshot's folder is called by its commit
    if folder and _holds_checker(folder):
        return Safety("safety checker: on (the base's own)", OwnChecker(folder, base.path))
    if wanted:
        raise Error(f"{base.path} has no safety checker: draw without one, or with a base that has one")
    return Safety(f"safety checker: off ({name} has none)")


class OwnChecker:
    """diffusers' StableDiffusionSafetyChecker out of a base's folder: how near CLIP sees a picture to 20 concepts.

    On the CPU and in fp32, so that a picture is judged alike on every device and no GPU memory is needed.
    """

    def __init__(self, folder: Path, path: str) -> None:
        self._folder, self._path = folder, path

    @torch.no_grad()
    def __call__(self, picture: Image.Image) -> bool:
        """Whether one of the concepts is nearer to the picture than its threshold."""
        pixels = self._preparation(picture.convert("RGB"), return_tensors="pt").pixel_values
        _, unsafe = self._network(clip_input=pixels, images=[np.zeros(1)])  # it would black these out
        return bool(unsafe[0])

    @cached_property
    def _network(self) -> Any:
        from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker

        where = f"{CHECKER} of {self._path}"
        return load_component(StableDiffusionSafetyChecker, self._folder / CHECKER, where, torch.float32).eval()

    @cached_property
    def _preparation(self) -> Any:
        try:
            from transformers import CLIPImageProcessorPil as Processor
        except ImportError:  # early versions of transformers 5 have one name for all ways
            from transformers import CLIPImageProcessor as Processor
        told = self._folder / PREPARATION / "preprocessor_config.json"
        return Processor.from_dict(read_json(told, self._path)) if told.is_file() else Processor()


def _holds_checker(folder: Path) -> bool:
    return any((folder / CHECKER).glob("*.[sb]*"))  # weights: the hub's cache may hold a config alone


def _on_hub(base: Base, folder: Path) -> bool:
    """Whether a base is one of the hub that has a checker there."""
    stated = read_json(folder / "model_index.json", base.path).get(CHECKER)
    return bool(stated and stated[1]) and bool(HUB_ID.fullmatch(base.path)) and not Path(base.path).exists()
