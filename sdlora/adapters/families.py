"""Which family and which widths an adapter was made for, told from names and shapes; None where they do not tell.

Works on `{module path: weight shape or None}`, so that a header alone will do. Imports no torch.
"""

import math
import re
from collections.abc import Iterable, Mapping

from . import tables

Shapes = Mapping[str, tuple[int, ...] | None]

CONTEXT_WIDTH = {768: {"sd1"}, 1024: {"sd2"}, 2048: {"sdxl"}}
TEXT_WIDTH = {768: {"sd1", "sdxl"}, 1024: {"sd2"}}  # SDXL's first text encoder is SD 1's
TOKEN_WIDTHS = (160, 768, 1024, 1280)  # of what text encoders read: mini's, SD 1's, SD 2's, SDXL's second
MOST_BARE_TOKENS = 256
TEXT_LAYER = re.compile(r"text_encoder\..*\.layers\.(\d+)\.")
VERSIONS = {"sd_v1": "sd1", "sd_v2": "sd2", "sdxl_": "sdxl"}
ARCHITECTURES = {"stable-diffusion-v1": "sd1", "stable-diffusion-v2": "sd2", "stable-diffusion-xl": "sdxl"}
# A file of this many modules of which one in ten at most has another shape: the widths are told, those are mistakes.
ENOUGH_MODULES, LARGEST_SHARE_OF_MISFITS = 10, 0.1


def are_bare_tokens(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a file's tensors are `{token: vectors}`: a few, of one width that a text encoder has, no dotted names."""
    if not 0 < len(shapes) <= MOST_BARE_TOKENS:
        return False
    widths = {shape[-1] if len(shape) in (1, 2) else 0 for shape in shapes.values()}
    return len(widths) == 1 and widths <= set(TOKEN_WIDTHS) and not any(re.search(r"[.:]", key) for key in shapes)


def tell_family(shapes: Shapes, metadata: Mapping[str, str], possible: Iterable[str] = tables.FAMILIES) -> str | None:
    """`sd1`, `sd2`, `sdxl` or None. `possible` are those that the names in the file leave.

    Every module strikes out the families that it can't be of. Where several are left, widths that only one of them
    has (mini's, say) count, then the header's own word; where none is left, that word alone.
    """
    left = set(possible)
    for path, shape in shapes.items():
        left &= _families_with(path, shape)
    if len(left) == 1:
        return left.pop()
    fitting = {tables.GEOMETRIES[name][0] for name in _fitting_geometries(shapes, left)}
    if len(fitting) == 1:
        return fitting.pop()
    stated = stated_family(metadata)
    return stated if stated in left or not left else None


def tell_geometry(shapes: Shapes, family: str | None) -> str | None:
    """The name of the widths: `sd15`, `sd2`, `sdxl` or `mini`; `custom` when the shapes are of none of them.

    None when no shape is known, or when those that are known are the same in several.
    """
    if not any(shapes.values()):
        return None
    families = {family} if family else set(tables.FAMILIES)
    fitting = _fitting_geometries(shapes, families)
    fitting = fitting or [name for name in _geometries_of(families) if _but_for_a_few(shapes, name)]
    if not fitting:
        return "custom"
    return fitting[0] if len(fitting) == 1 else None


def misfits(shapes: Shapes, geometry: str | None) -> dict[str, tuple[int, ...]]:
    """The modules whose shape is another than the geometry's, with the geometry's. Empty for `custom` and None."""
    if geometry not in tables.GEOMETRIES:
        return {}
    right = tables.shapes(geometry)
    return {
        path: right[path] for path, shape in shapes.items() if shape and path in right and not _same(shape, right[path])
    }


def _fitting_geometries(shapes: Shapes, families: Iterable[str]) -> list[str]:
    """Those that have every module in exactly this shape."""
    told = {path: shape for path, shape in shapes.items() if shape}
    return [
        name
        for name in _geometries_of(families)
        if told and told.keys() <= tables.shapes(name).keys() and not misfits(told, name)
    ]


def _but_for_a_few(shapes: Shapes, geometry: str) -> bool:
    """Whether the shapes are this geometry's but for a few."""
    told = [path for path, shape in shapes.items() if shape]
    return len(told) >= ENOUGH_MODULES and len(misfits(shapes, geometry)) <= LARGEST_SHARE_OF_MISFITS * len(told)


def _geometries_of(families: Iterable[str]) -> list[str]:
    wanted = set(families)
    return [name for name, (family, _) in tables.GEOMETRIES.items() if family in wanted]


def _same(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether two shapes hold the same matrix: some kinds keep a convolution as (out, in·kh·kw)."""
    return one[0] == other[0] and math.prod(one[1:]) == math.prod(other[1:])


def _families_with(path: str, shape: tuple[int, ...] | None) -> set[str]:
    """The families in which there can be a module of this path and shape.

    SDXL has a second text encoder and ten transformer blocks in a row. SD 1 and SD 2 share their UNet's names; they
    differ in `proj_in` (a convolution or a linear layer), in the width of what `attn2.to_k` reads (768 or 1024) and in
    the text encoder's depth (12 or 23) and width.
    """
    every = set(tables.FAMILIES)
    if path.startswith("text_encoder_2.") or ".transformer_blocks.1." in path:
        return {"sdxl"}
    if (layer := TEXT_LAYER.match(path)) and int(layer[1]) >= 12:
        return {"sd2"}
    if shape is None or len(shape) < 2:
        return every
    if path.endswith((".attn2.to_k", ".attn2.to_v")):
        return CONTEXT_WIDTH.get(shape[1], every)
    if path.endswith((".proj_in", ".proj_out")) and len(shape) == 4:
        return {"sd1"}
    return TEXT_WIDTH.get(min(shape[:2]), every) if layer else every


def stated_family(metadata: Mapping[str, str]) -> str | None:
    """The family that the metadata names, None when it names none."""
    """The family that the metadata names; None where it names none."""
    stated = metadata.get("ss_base_model_version", "")
    architecture = metadata.get("modelspec.architecture", "")
    for prefix, family in (VERSIONS | ARCHITECTURES).items():
        if stated.startswith(prefix) or architecture.startswith(prefix):
            return family
    return "sd2" if metadata.get("ss_v2") == "True" else None
