"""One zip with all that is shared of an adapter: the file, its card, Civitai's text, pictures, A1111's notes."""

import io
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from ..adapters.formats.header import read_header, write_metadata
from ..adapters.formats.metadata import without_private
from ..adapters.sidecar import Sidecar, write_sidecar
from ..adapters.told import TRIGGER
from ..errors import Error
from ..files import write_atomically
from .kit import make_kit
from .thumbnail import thumbnail

LONGEST = 5000  # characters of one text


@dataclass(frozen=True)
class Story:
    """What its maker says of an adapter. "" is not stated; then what the file says already stays.

    With `private`, file names, tags, captions and facts about the dataset are left out of the file that is shared.
    """

    trigger: str = ""
    weight: float = 1.0
    license: str = ""
    author: str = ""
    description: str = ""
    base_model: str = ""
    private: bool = False

    def metadata(self) -> dict[str, str]:
        """The entries of ModelSpec that say it. Raises `Error` for a text that no one would read."""
        told = {
            TRIGGER: self.trigger,
            "modelspec.license": self.license,
            "modelspec.author": self.author,
            "modelspec.description": self.description,
            "modelspec.usage_hint": f"weight {self.weight:g}",
        }
        if long := next((key for key, text in told.items() if len(text) > LONGEST), None):
            raise Error(f"{long.removeprefix('modelspec.')} is too long: give at most {LONGEST} characters")
        return {key: text.strip() for key, text in told.items() if text.strip()}


@dataclass(frozen=True)
class Package:
    """The zip and the files in it. `hints` say what is missing, `warnings` what is wrong with the adapter."""

    path: Path
    files: tuple[str, ...]
    hints: tuple[str, ...]
    warnings: tuple[str, ...]


def make_package(adapter: Path, out: Path, story: Story, samples: Sequence[Path] = ()) -> Package:
    """Write `out`, a zip of the sharing kit with the adapter in it; what lies in the library is not changed.

    The file in the zip has the story in its header and the first sample as its thumbnail; its tensors and the hash that
    A1111 knows it by are the same. Raises `Error` for what is no adapter or no picture; then there is no zip.
    """
    told = story.metadata()
    with tempfile.TemporaryDirectory(prefix="sdlora-share-") as temporary:
        folder = Path(temporary) / adapter.stem
        folder.mkdir()
        copy = folder / adapter.name
        shutil.copyfile(adapter, copy)
        stated = read_header(copy).metadata
        write_metadata(copy, (without_private(stated) if story.private else stated) | told)
        kit = make_kit(
            copy,
            Path(temporary) / "kit",
            samples=samples,
            weight=story.weight,
            license=story.license or None,
            base_model=story.base_model or None,
            force=True,
        )
        shutil.copytree(kit.folder, folder, dirs_exist_ok=True)
        if picture := thumbnail(copy):
            _write_preview(picture, copy)
        write_sidecar(copy, Sidecar(activation=story.trigger, weight=story.weight, description=story.description))
        write_atomically(out, partial(_zip, folder))
        files = tuple(sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()))
    return Package(out, files, kit.hints, kit.warnings)


def _write_preview(picture: bytes, adapter: Path) -> None:
    """Where A1111 and ComfyUI look for it."""
    Image.open(io.BytesIO(picture)).save(adapter.with_suffix(".preview.png"))


def _zip(folder: Path, target: Path) -> None:
    """Stored, not squeezed: weights and pictures have nothing to squeeze out."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, f"{folder.name}/{file.relative_to(folder).as_posix()}")
