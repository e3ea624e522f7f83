"""A mix as a small TOML file: a table `adapters` with the weights of each, `mode` and `equalise` where not the usual.

mode = "switch"

[adapters]
ink = 0.8

[adapters.cat]
unet = 0.6
text = 0.3
blocks = {"unet.up_blocks.1" = 0.5}
start = 0.2
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tomlkit

from ..adapters import library as adapter_library
from ..errors import Error
from ..files import write_text
from .mix import Given, Weights
from .modes import MODES, Mode

KEYS = ("adapters", "mode", "equalise")


class MixFile(NamedTuple):
    """What such a file holds, as `Mixer.set` takes it."""

    adapters: dict[str, Given]
    mode: Mode
    equalise: bool


def write_mix(
    path: Path,
    mix: Mapping[str, Weights | Given],
    library: adapter_library.Library | None,
    *,
    mode: Mode = "blend",
    equalise: bool = False,
) -> None:
    """Write the mix atomically. Files beside or below it are named relative to it, so that the folder may move."""
    folder = path.absolute().parent
    given = {key: weights.given() if isinstance(weights, Weights) else weights for key, weights in mix.items()}
    adapters = {_portable(key, folder, library): weights for key, weights in given.items()}
    content: dict[str, Any] = {"mode": mode} if mode != "blend" else {}
    content |= ({"equalise": True} if equalise else {}) | {"adapters": adapters}
    write_text(path, tomlkit.dumps(content))


def read_mix(path: Path, library: adapter_library.Library | None) -> MixFile:
    """Read such a file. Raises `Error` naming it."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Error(f"there is no mix file {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise Error(f"{path} is not valid TOML: {problem}") from None
    unknown = [key for key in content if key not in KEYS]
    if unknown:
        raise Error(f"{path} has the key {unknown[0]!r}, which there is not in a mix: it has {', '.join(KEYS)}")
    adapters, equalise = content.get("adapters", {}), content.get("equalise", False)
    if not isinstance(adapters, dict):
        raise Error(
            f"{path}: adapters is {adapters!r}, where a table is meant: write [adapters], below it NAME = WEIGHT"
        )
    if not isinstance(equalise, bool):
        raise Error(f"{path}: equalise is {equalise!r}: give true or false")
    mode = content.get("mode", "blend")
    if mode not in MODES:
        raise Error(f"{path}: there is no mode {mode!r}: give {', '.join(MODES)}")
    found = {_found(key, path.absolute().parent, library): given for key, given in adapters.items()}
    return MixFile(found, mode, equalise)


def _portable(key: str, folder: Path, library: adapter_library.Library | None) -> str:
    """A library's name as it is; a file by its way from `folder` if it lies below, else by its whole path."""
    if _is_name(key, library):
        return key
    file = Path(key).expanduser().absolute()
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else str(file)


def _found(key: str, folder: Path, library: adapter_library.Library | None) -> str:
    return str(folder / key) if not _is_name(key, library) and (folder / key).exists() else key


def _is_name(key: str, library: adapter_library.Library | None) -> bool:
    return adapter_library.has(key, library)
