"""Mixes and prompts that were kept: `mixes/NAME.toml` and `prompts/NAME.txt` of the workspace."""

from collections.abc import Mapping
from pathlib import Path

from sdlora.errors import Error
from sdlora.files import is_safe_name, write_text
from sdlora.mixing.mix import Given
from sdlora.mixing.mix_file import MixFile, read_mix, write_mix
from sdlora.mixing.modes import Mode
from sdlora.resources import SAMPLE_ADAPTERS

from ..engine import Engine

LARGEST = 1_000_000  # bytes of a file that is opened; a mix has a few hundred


class Saved:
    """The two folders. A mix is what `sdlora generate --mix` takes; a prompt carries its mix as tags."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._folders = {"mix": engine.workspace / "mixes", "prompt": engine.workspace / "prompts"}
        self._ends = {"mix": ".toml", "prompt": ".txt"}

    def names(self) -> list[str]:
        """`mix: both`, `prompt: fox`, as `open` takes them."""
        return [
            f"{kind}: {file.stem}"
            for kind, folder in self._folders.items()
            for file in sorted(folder.glob(f"*{self._ends[kind]}"))
        ]

    def save_mix(self, name: str, mix: Mapping[str, Given], mode: Mode, *, equalise: bool) -> Path:
        """Raises `Error` for a name that can't be a file's, and for a mix of nothing."""
        if not mix:
            raise Error("The mix is empty: turn an adapter on first.")
        path = self._place("mix", name)
        keys = {self._key(adapter): given for adapter, given in mix.items()}
        write_mix(path, keys, self._engine.adapters_folder, mode=mode, equalise=equalise)
        return path

    def save_prompt(self, name: str, text: str) -> Path:
        """Raises `Error` for a name that can't be a file's."""
        path = self._place("prompt", name)
        write_text(path, text)
        return path

    def read_mix(self, path: Path) -> MixFile:
        """A mix file with library names for keys. Raises `Error` naming what the library has not."""
        if path.stat().st_size > LARGEST:
            raise Error(f"{path.name} is too large for a mix file: it has a few hundred bytes")
        try:
            found = read_mix(path, self._engine.adapters_folder)
        except Error as problem:
            raise Error(str(problem).replace(str(path), path.name)) from None
        self._engine.adapters()
        by_path = {item.path: item.id for item in self._engine.library.items()}
        names = set(self._engine.library.names())
        adapters = {}
        for key, given in found.adapters.items():
            name = key if key in names else by_path.get(Path(key))
            if name is None:
                raise Error(f"{path.name} names the adapter {Path(key).stem}, which is not in the library")
            adapters[name] = given
        return found._replace(adapters=adapters)

    def path(self, chosen: str) -> tuple[str, Path]:
        """(kind, file) of one of `names`. Raises `Error` where it is gone."""
        kind, _, name = chosen.partition(": ")
        if chosen not in self.names():
            raise Error(f"{name or chosen} is no longer there: it was renamed or taken away.")
        return kind, self._folders[kind] / f"{name}{self._ends[kind]}"

    def _key(self, name: str) -> str:
        """What any tool of ours finds an adapter by: its name, or its file where that is elsewhere."""
        path = self._engine.library.path(name)
        near = path.parent in (self._engine.adapters_folder, SAMPLE_ADAPTERS)
        return name if near and path.stem == name else str(path)

    def _place(self, kind: str, name: str) -> Path:
        name = name.strip()
        if not is_safe_name(name):
            raise Error("Give it a name first, of letters, digits, spaces and - _ only.")
        return self._folders[kind] / f"{name}{self._ends[kind]}"
