"""Which bases are on this computer: mini, the hub's cache, and what lies in a folder of models."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub.constants import HF_HUB_CACHE

from sdlora.bases.base import Family
from sdlora.bases.checkpoint_file import CHECKPOINT_SUFFIXES, read_checkpoint
from sdlora.bases.family import family_of_checkpoint, family_of_unet
from sdlora.errors import Error
from sdlora.resources import MINI


@dataclass(frozen=True)
class FoundBase:
    """`name` is what `load_base` takes: `mini`, a hub id, or the path of a folder or a checkpoint file."""

    name: str
    family: Family
    place: Path


def find_bases(folders: Iterable[Path], cache: Path = Path(HF_HUB_CACHE)) -> list[FoundBase]:
    """mini, then the hub's cache, then the diffusers folders and checkpoint files right inside `folders`.

    Other models, parts of models and broken files are left out. Headers are read, no weights.
    """
    candidates = [("mini", MINI), *_cached(cache), *((str(entry), entry) for entry in _entries(folders))]
    found = ((name, place, _family(place)) for name, place in candidates)
    return [FoundBase(name, family, place) for name, place, family in found if family]


def _cached(cache: Path) -> Iterator[tuple[str, Path]]:
    """Hub ids and their snapshot: the one that `main` names, else any."""
    for model in sorted(cache.glob("models--*--*")):
        main = model / "refs" / "main"
        revision = main.read_text(encoding="utf-8").strip() if main.is_file() else "*"
        for snapshot in sorted(model.glob(f"snapshots/{revision}"))[-1:]:
            yield model.name.removeprefix("models--").replace("--", "/", 1), snapshot


def _entries(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        if folder.is_dir():
            yield from sorted(folder.iterdir())


def _family(place: Path) -> Family | None:
    """The family of a folder or a file, None where it is no base of ours."""
    try:
        if place.is_dir():
            config = json.loads((place / "unet" / "config.json").read_text(encoding="utf-8"))
            return family_of_unet(config, str(place)) if any((place / "unet").glob("*.[sb]*")) else None
        if place.suffix.lower() in CHECKPOINT_SUFFIXES:
            return family_of_checkpoint(read_checkpoint(place)[0], str(place))
    except (Error, OSError, ValueError, KeyError):
        pass
    return None
