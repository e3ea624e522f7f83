"""The datasets that a page may choose from, each known by an id of this list: what a browser says is never a path."""

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sdlora.data.captions import kohya_folder
from sdlora.data.doctor import Cleaned, Report, clean
from sdlora.data.sample import PREFIX, resolve_folder, sample_names
from sdlora.errors import Error
from sdlora.files import write_folder_atomically
from sdlora.workspace_settings import read_settings

from .receiving import Received, images_below, receive

DEEPEST = 3  # folders below a root that are looked into
MOST = 500  # folders that are listed


@dataclass(frozen=True)
class Dataset:
    """`id` is its name in the list; `own` says that it lies in the workspace and may be changed."""

    id: str
    folder: Path
    own: bool

    @property
    def title(self) -> str:
        """For people."""
        return self.id


class Shelf:
    """Own datasets lie in `datasets/` of the workspace. All others are only read, and copied to be changed."""

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        self._own = workspace / "datasets"

    def all(self) -> dict[str, Dataset]:
        """Id -> dataset: own ones, newest first, then samples, then folders of the roots in settings.toml."""
        own = [Dataset(path.name, path, True) for path in _folders(self._own)]
        own.sort(key=lambda dataset: dataset.folder.stat().st_mtime, reverse=True)
        samples = [Dataset(f"{PREFIX}{name}", resolve_folder(f"{PREFIX}{name}"), False) for name in sample_names()]
        return {dataset.id: dataset for dataset in (*own, *samples, *self._listed())}

    def get(self, id_: str) -> Dataset:
        """Raises `Error` for what is not in the list."""
        found = self.all().get(id_)
        if found is None:
            raise Error("These images are no longer there: drop them again, or choose others.")
        return found

    def id_of(self, folder: str) -> str:
        """The id of the dataset that lies in a folder, "" where it is none of the list."""
        place = Path(folder).resolve() if not folder.startswith(PREFIX) else resolve_folder(folder).resolve()
        return next((one.id for one in self.all().values() if one.folder.resolve() == place), "")

    def receive(self, files: Iterable[Path], id_: str | None) -> tuple[Dataset, Received]:
        """Dropped files, added to an own dataset or made a new one. Raises `Error` where there is no image in it."""
        if id_ and (there := self.all().get(id_)) and there.own:
            return there, receive(files, there.folder)
        folder = self._new("images")
        got: list[Received] = []
        write_folder_atomically(folder, lambda place: got.append(_some(receive(files, place))))
        return Dataset(folder.name, folder, True), got[0]

    def own(self, dataset: Dataset) -> Dataset:
        """The dataset itself where it may be changed, else a copy."""
        if dataset.own:
            return dataset
        folder = self._new(dataset.folder.name)
        ignored = shutil.ignore_patterns(".sdlora", ".*.tmp")
        write_folder_atomically(
            folder, lambda place: shutil.copytree(dataset.folder, place, dirs_exist_ok=True, ignore=ignored)
        )
        return Dataset(folder.name, folder, True)

    def fixed(self, dataset: Dataset, report: Report) -> tuple[Dataset, Cleaned]:
        """A copy without the faults that can be mended without a person."""
        folder = self._new(f"{dataset.folder.name}-fixed")
        done = clean(report, folder)
        return Dataset(folder.name, folder, True), done

    def _new(self, stem: str) -> Path:
        """A folder that is not there yet."""
        now = f"{datetime.now():%Y-%m-%d-%H%M}"
        plain = "".join(letter for letter in stem if letter.isalnum() or letter in "-_ ")[:40].strip() or "images"
        if kohya_folder(plain):  # which training refuses as the whole of a dataset
            plain = f"copy {plain}"
        base = self._own / (plain if plain != "images" else f"images-{now}")
        return base if not base.exists() else base.with_name(f"{base.name}-{secrets.token_hex(2)}")

    def _listed(self) -> Iterator[Dataset]:
        """Folders with images below the roots of settings.toml."""
        settings = read_settings(self._workspace)
        found = 0
        for root in settings.dataset_roots:
            for folder in _below(root):
                if found >= MOST:
                    return
                try:
                    settings.dataset(folder)  # a link may lead out of the root
                    has_images = any(True for _ in images_below(folder))
                except (Error, OSError):
                    continue
                if has_images:
                    found += 1
                    yield Dataset(
                        f"{root.name}/{folder.relative_to(root).as_posix()}".removesuffix("/."), folder, False
                    )


def _some(received: Received) -> Received:
    if not received.images:
        why = "; ".join(f"{name}: {reason}" for name, reason in list(received.left_out.items())[:3])
        raise Error(f"There is no image in what was dropped{f' ({why})' if why else ''}: give png, jpg, webp or bmp.")
    return received


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]


def _below(root: Path) -> Iterator[Path]:
    """The root and its folders, not too deep."""
    for folder, names, _ in os.walk(root):
        here = Path(folder)
        names[:] = sorted(name for name in names if not name.startswith("."))
        if len(here.relative_to(root).parts) >= DEEPEST:
            names[:] = []
        yield here
