"""Settings by block: `{module-path prefix: value}`, where the longest prefix of a module's path wins, as in a mix."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import TypeVar

from ..errors import Error

T = TypeVar("T")


def value_at(path: str, blocks: Mapping[str, T]) -> T | None:
    """The value of the longest prefix that begins the path; None where none does."""
    while path:
        if path in blocks:
            return blocks[path]
        path = path.rpartition(".")[0]
    return None


def refuse_unknown(setting: str, blocks: Mapping[str, object], paths: Collection[str]) -> None:
    """Raises `Error` for a prefix that begins none of the modules that are trained."""
    known = {path.rsplit(".", depth)[0] for path in paths for depth in range(path.count(".") + 1)}
    for prefix in blocks:
        if prefix not in known:
            near = get_close_matches(prefix, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else "give the beginning of a module path, such as unet.up_blocks"
            raise Error(f"The setting {setting} names {prefix!r}, where nothing is trained: {hint}")
