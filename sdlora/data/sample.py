"""The small datasets that come with sdlora (`sample:NAME`), and where the images kept out of training lie."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from sdlora.errors import Error
from sdlora.resources import shipped

PREFIX = "sample:"
HOLDOUT = "holdout"
TRAIN = "train"


@dataclass(frozen=True)
class Sample:
    """One shipped dataset; `kind` is `style` or `character`, which is also the preset that suits it."""

    name: str
    folder: Path
    trigger: str
    kind: str
    licence: str
    credit: str


def sample_names() -> tuple[str, ...]:
    """The names that may stand behind `sample:`."""
    return tuple(sorted(facts.parent.name for facts in shipped("datasets").glob("*/dataset.toml")))


def resolve_folder(folder: str | Path) -> Path:
    """The folder that a path, `sample:NAME` or `sample:NAME/holdout` names.

    Raises Error for an unknown sample and for a path that is no folder.
    """
    text = str(folder)
    path = _sample_folder(text) if text.startswith(PREFIX) else Path(folder).expanduser()
    if path.is_file():
        raise Error(f"'{path}' is a file, not a folder of images: give the folder that it lies in.")
    if not path.is_dir():
        raise Error(f"There is no folder '{path}': check the path, or try one of {_choices()}.")
    return path


def sample_facts(folder: str | Path) -> Sample | None:
    """The shipped dataset that `folder` (`sample:NAME` or a path, also of its `train`) belongs to, None for others."""
    path, home = resolve_folder(folder).resolve(), shipped("datasets").resolve()
    if not path.is_relative_to(home) or path == home:
        return None
    root = home / path.relative_to(home).parts[0]
    if root.name not in sample_names():
        return None
    facts = tomllib.loads((root / "dataset.toml").read_text(encoding="utf-8"))
    return Sample(root.name, root, facts["trigger"], facts["kind"], facts["licence"], facts["credit"])


def is_holdout(folder: Path) -> bool:
    """Whether the folder's name says that it is kept out of training."""
    return folder.name.casefold() == HOLDOUT


def holdout_beside(folder: str | Path) -> Path | None:
    """The `holdout` folder (any case) inside `folder`, or beside it where `folder` is a `train` folder; else None."""
    path = resolve_folder(folder)
    resolved = path.resolve()
    places = [path, resolved.parent] if resolved.name.casefold() == TRAIN else [path]
    for place in places:
        for child in sorted(place.iterdir()):
            if child.is_dir() and is_holdout(child):
                return child
    return None


def _sample_folder(text: str) -> Path:
    name, _, below = text.removeprefix(PREFIX).replace("\\", "/").partition("/")
    if name not in sample_names():
        raise Error(f"There is no sample dataset '{name}': choose one of {_choices()}.")
    return shipped("datasets") / name / below


def _choices() -> str:
    return ", ".join(PREFIX + name for name in sample_names())
