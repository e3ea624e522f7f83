"""Where each weight of a network lies in a checkpoint: the file, the key, and which part of the tensor there."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sdlora.bases import original_layout as layout
from sdlora.bases.base import Family
from sdlora.bases.geometry import family_config
from sdlora.errors import Error

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Place:
    """Rows `start` to `stop` (all of them, when None) of the tensor under `key` in `file`; `turned`: its transpose."""

    file: Path
    key: str
    start: int = 0
    stop: int | None = None
    turned: bool = False

    def part(self, stored: Tensor) -> Tensor:
        """The view of the stored tensor that is the network's weight: writing to it writes to the stored one."""
        rows = stored if self.stop is None else stored[self.start : self.stop]
        return rows.T if self.turned else rows


def original_places(family: Family, file: Path, shapes: Shapes, path: str) -> dict[str, Place]:
    """The places of UNet and text encoder weights (`unet.conv_in.weight`) in an original-layout checkpoint.

    The renaming itself is `original_layout`'s: it is given numbers that say where they come from instead of weights.
    Raises `Error` for a network that it does not know.
    """
    tags = {key: _tag(number, shape) for number, (key, shape) in enumerate(shapes.items())}
    like = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    try:
        config = layout.unet_config(family, family_config(family)["unet"], layout.part(like, layout.UNET))
        unet = layout.part(tags, layout.UNET)
        named = layout.unet_weights(config, unet)
        if len(named) != len(unet):
            raise Error(f"The UNet of {path} is none that sdlora knows: {len(unet) - len(named)} weights are unknown.")
        found = {f"unet.{name}": tag for name, tag in named.items()}
        for index, component in enumerate(["text_encoder", "text_encoder_2"][: len(layout.TEXT_ENCODERS[family])]):
            texts = layout.text_weights(family, index, tags)
            found |= {f"{component}.{name}": tag for name, tag in texts.items()}
    except KeyError as error:
        raise Error(f"{path} is not a complete checkpoint: {error} is missing.") from error
    keys = list(shapes)
    return {name: _place(file, keys, shapes, tag) for name, tag in found.items()}


def _tag(number: int, shape: tuple[int, ...]) -> Tensor:
    """For each row of a tensor, the tensor's number and the row's: (rows,) or (rows, 1), so that it takes no memory."""
    tag = (number << 32) + torch.arange(shape[0] if shape else 1)
    return tag[:, None] if len(shape) > 1 else tag


def _place(file: Path, keys: list[str], shapes: Shapes, tag: Tensor) -> Place:
    first = int(tag.flatten()[0])
    key, start = keys[first >> 32], first & 0xFFFFFFFF
    rows = shapes[key][0] if shapes[key] else 1
    whole = tag.numel() == rows
    turned = tag.ndim == 2 and tag.shape[0] == 1 < rows
    return Place(file, key, 0 if whole else start, None if whole else start + tag.numel(), turned)
