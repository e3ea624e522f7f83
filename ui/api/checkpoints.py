"""Bases as A1111 lists checkpoints, and the one that clients have chosen."""

from pathlib import PurePath
from typing import Any

from sdlora.errors import Error
from sdlora.mixing.generated import model_name

from ..engine import Engine
from .asked import Options


class Checkpoints:
    """Which base a request means. What the pages use is their own affair."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._chosen: str | None = None
        self.clip_skip = 1

    @property
    def chosen(self) -> str:
        """The base of requests that name none: what `options` last said, else the one at hand."""
        return self._chosen or self._engine.base_name

    @property
    def title(self) -> str:
        """Of the chosen one."""
        return model_name(self.chosen)

    def choose(self, options: Options) -> None:
        """Take over what is given. Raises `Error` for a base that is not here."""
        if options.sd_model_checkpoint is not None:
            self._chosen = self.find(options.sd_model_checkpoint)
        if options.CLIP_stop_at_last_layers is not None:
            self.clip_skip = options.CLIP_stop_at_last_layers

    def find(self, wanted: str) -> str:
        """The listed base of this title, name or file name. Raises `Error` when there is none: nothing is looked for
        elsewhere, and nothing downloaded."""
        there = self._engine.bases()
        for called in (str, model_name, _file_name):
            if wanted in (names := {called(name): name for name in there}):
                return names[wanted]
        known = ", ".join(model_name(name) for name in there)
        raise Error(f"there is no base {wanted!r} on this computer: there are {known}")

    def listed(self) -> list[dict[str, Any]]:
        """As `sd-models` answers. Hashes are left out: they would have to be read from gigabytes."""
        return [
            {
                "title": model_name(name),
                "model_name": model_name(name),
                "hash": None,
                "sha256": None,
                "filename": _file_name(name),
                "config": None,
            }
            for name in self._engine.bases()
        ]


def _file_name(name: str) -> str:
    return PurePath(name).name
