"""Weights by block, in the order and by the names of A1111's sd-webui-lora-block-weight.

`BASE` is the text encoder, `IN00` … are the UNet's input blocks as the original checkpoints number them, `M00` is its
middle, `OUT00` … its output blocks. A list names 17 or 26 of them for SD 1.x and 2.x, 12 or 20 for SDXL.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import NamedTuple

from ..bases import Family
from ..errors import Error


class Blocks(NamedTuple):
    """A UNet's blocks: all of them, and those that a short list names, the ones with attention in them."""

    levels: int
    attention: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """`BASE`, `IN00` …, `M00`, `OUT00` …; three to a level, two layers and what changes the size."""
        numbers = range(3 * self.levels)
        return ("BASE", *(f"IN{i:02}" for i in numbers), "M00", *(f"OUT{i:02}" for i in numbers))


def _named(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_SD = Blocks(4, _named("BASE IN01 IN02 IN04 IN05 IN07 IN08 M00 OUT03 OUT04 OUT05 OUT06 OUT07 OUT08 OUT09 OUT10 OUT11"))
_XL = Blocks(3, _named("BASE IN04 IN05 IN07 IN08 M00 OUT00 OUT01 OUT02 OUT03 OUT04 OUT05"))

# What a preset leaves at 1; everything else is 0. Those in capitals are the extension's, which names them for SD alone;
# for SDXL they stand for the same depths. Composition and style: in SD the coarse layers draw the shape, the fine ones
# the look (Voynov et al., 2023, arXiv:2303.09522); in SDXL one block each does (InstantStyle, Wang et al., 2024,
# arXiv:2404.02733).
_SD_PRESETS = {
    "INS": _named("BASE IN01 IN02 IN04"),
    "IND": _named("BASE IN05 IN07 IN08"),
    "INALL": _SD.attention[:7],
    "MIDD": _named("BASE IN05 IN07 IN08 M00 OUT03 OUT04 OUT05 OUT06"),
    "OUTD": _named("BASE OUT03 OUT04 OUT05 OUT06"),
    "OUTS": _named("BASE OUT07 OUT08 OUT09 OUT10 OUT11"),
    "OUTALL": ("BASE", *_SD.attention[8:]),
    "composition": _named("BASE IN07 IN08 M00 OUT03 OUT04 OUT05"),
    "style": _named("BASE IN01 IN02 IN04 IN05 OUT06 OUT07 OUT08 OUT09 OUT10 OUT11"),
}
_XL_PRESETS = {
    "INS": _named("BASE IN04 IN05"),
    "IND": _named("BASE IN07 IN08"),
    "INALL": _XL.attention[:5],
    "MIDD": _named("BASE IN07 IN08 M00 OUT00 OUT01 OUT02"),
    "OUTD": _named("BASE OUT00 OUT01 OUT02"),
    "OUTS": _named("BASE OUT03 OUT04 OUT05"),
    "OUTALL": ("BASE", *_XL.attention[6:]),
    "composition": _named("BASE IN08"),
    "style": _named("BASE OUT01"),
}
_SAME = {"all": 1.0, "all0.5": 0.5, "none": 0.0}  # presets that give every block this
PRESETS = (*_SAME, *_SD_PRESETS)


def block_factors(blocks: str | Sequence[float], family: Family) -> dict[str, float]:
    """`{module-path prefix: factor}` of a list of block weights or the name of a preset, as for a mix's `blocks`.

    Blocks that a short list does not name get 0, as in the extension; what is in no block at all (the time embedding,
    the last convolution) keeps 1, except in `none` and `all0.5`. Raises `Error` for a list of another length or with
    something in it that is no number, and for a name that there is not.
    """
    known, presets = (_XL, _XL_PRESETS) if family == "sdxl" else (_SD, _SD_PRESETS)
    if isinstance(blocks, str) and "," not in blocks:
        name = blocks.strip().casefold()
        if name in _SAME:
            return dict.fromkeys(("unet", *_prefixes("BASE", family)), _SAME[name])
        folded = {key.casefold(): names for key, names in presets.items()}
        if name not in folded:
            near = get_close_matches(name, [key.casefold() for key in PRESETS], n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(PRESETS)}."
            raise Error(f"There are no block weights by the name {blocks.strip()!r}: {hint}")
        given = dict.fromkeys(folded[name], 1.0)
    else:
        given = _listed(blocks, known, family)
    return {prefix: given.get(block, 0.0) for block in known.all for prefix in _prefixes(block, family)}


def _listed(blocks: str | Sequence[float], known: Blocks, family: Family) -> dict[str, float]:
    try:
        values = [float(value) for value in (blocks.split(",") if isinstance(blocks, str) else blocks)]
    except ValueError as problem:
        raise Error(f"block weights {blocks!r}: {problem}; give numbers only") from None
    for names in (known.attention, known.all):
        if len(names) == len(values):
            return dict(zip(names, values, strict=True))
    raise Error(
        f"there are {len(values)} block weights, but for {family} a list has {len(known.attention)} or "
        f"{len(known.all)}: {', '.join(known.attention)}"
    )


def _prefixes(block: str, family: Family) -> tuple[str, ...]:
    """The module paths that begin a block's modules, as diffusers names them."""
    if block == "BASE":
        return ("text_encoder", "text_encoder_2") if family == "sdxl" else ("text_encoder",)
    if block == "M00":
        return ("unet.mid_block",)
    if block.startswith("IN"):
        if block == "IN00":
            return ("unet.conv_in",)
        level, place = divmod(int(block[2:]) - 1, 3)
        here = f"unet.down_blocks.{level}"
        return (f"{here}.downsamplers",) if place == 2 else (f"{here}.resnets.{place}", f"{here}.attentions.{place}")
    level, place = divmod(int(block[3:]), 3)
    here = f"unet.up_blocks.{level}"
    layer = (f"{here}.resnets.{place}", f"{here}.attentions.{place}")
    return (*layer, f"{here}.upsamplers") if place == 2 else layer
