"""`settings.toml` of a workspace: which further folders the web UI may look into. Imports no torch.

adapter_folders = ["D:/stable-diffusion-webui", "~/ComfyUI"]
base_folders = ["D:/stable-diffusion-webui"]
dataset_roots = ["~/Pictures/datasets"]
"""

import tomllib
from difflib import get_close_matches
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import Error

FILE = "settings.toml"
# Where A1111 (Forge, SD.Next) and ComfyUI keep their files, relative to the folder that they were installed to.
ADAPTERS_WITHIN = ("models/Lora", "models/LyCORIS", "models/loras")
BASES_WITHIN = ("models/Stable-diffusion", "models/checkpoints", "models/diffusers")


class WorkspaceSettings(BaseModel):
    """The file's content. Folders are absolute or relative to the workspace, `~` is the user's own.

    `adapter_folders` and `base_folders` are only read; the folder of an A1111 or a ComfyUI stands for the folders of
    adapters or of checkpoints in it. `dataset_roots` hold the folders of images that may be trained on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    adapter_folders: tuple[Path, ...] = ()
    base_folders: tuple[Path, ...] = ()
    dataset_roots: tuple[Path, ...] = ()

    def folders_of_adapters(self) -> list[Path]:
        """The folders to look for adapters in; those that are not there now are left out."""
        return _within(self.adapter_folders, ADAPTERS_WITHIN)

    def folders_of_bases(self) -> list[Path]:
        """The folders to look for bases in; those that are not there now are left out."""
        return _within(self.base_folders, BASES_WITHIN)

    def missing(self) -> list[Path]:
        """What the file names and is not there: a disk that is not plugged in, or a mistake."""
        named = dict.fromkeys((*self.adapter_folders, *self.base_folders, *self.dataset_roots))
        return [folder for folder in named if not folder.is_dir()]

    def dataset(self, folder: str | Path) -> Path:
        """A folder that may be trained on, resolved. Raises `Error` unless it lies in one of `dataset_roots`."""
        resolved = Path(folder).resolve()
        if not any(resolved.is_relative_to(root.resolve()) for root in self.dataset_roots):
            raise Error(f"{folder} may not be trained on: list a folder above it as one of dataset_roots in {FILE}")
        if not resolved.is_dir():
            raise Error(f"there is no folder {folder} to train on: choose another, or look whether its disk is there")
        return resolved


def read_settings(workspace: Path) -> WorkspaceSettings:
    """The workspace's settings, the usual ones where it has no file.

    Raises `Error` naming file and key for what is no TOML, an unknown key, or a value that is no list of folders.
    """
    path = workspace / FILE
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return WorkspaceSettings()
    except OSError as problem:
        raise Error(f"{path} can't be read: {problem.strerror or problem}") from None
    except UnicodeDecodeError:
        raise Error(f"{path} is not UTF-8 text: save it anew as UTF-8") from None
    except tomllib.TOMLDecodeError as problem:
        raise Error(f"{path} is not valid TOML: {problem}; write folders with / and in quotes, D:/models") from None
    try:
        settings = WorkspaceSettings.model_validate(content)
    except ValidationError as problem:
        raise Error(_sentence(path, str(problem.errors()[0]["loc"][0]))) from None
    empty = next((key for key, folders in content.items() if "" in folders), None)
    if empty:
        raise Error(f"{path}: {empty} has an empty entry: name a folder, or take it out")
    return WorkspaceSettings(**{key: _absolute(folders, workspace) for key, folders in settings})


def _sentence(path: Path, key: str) -> str:
    known = list(WorkspaceSettings.model_fields)
    if key in known:
        return f'{path}: {key} must be a list of folders, such as {key} = ["D:/models"]'
    near = get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"it may have {', '.join(known)}"
    return f"{path} has the key {key!r}, which there is not: {hint}"


def _absolute(folders: tuple[Path, ...], workspace: Path) -> tuple[Path, ...]:
    try:
        return tuple((workspace / folder.expanduser()).absolute() for folder in folders)
    except RuntimeError as problem:  # ~somebody
        raise Error(f"{workspace / FILE}: {problem}") from None


def _within(folders: tuple[Path, ...], names: tuple[str, ...]) -> list[Path]:
    """Each folder, or, where it is an installation, those of `names` that are in it. A link is taken as it is."""
    found: list[Path] = []
    for folder in folders:
        inside = [folder / name for name in names if (folder / name).is_dir()]
        found += inside or ([folder] if folder.is_dir() else [])
    # models/Lora and models/loras are one folder where capitals make no difference
    return list({(place.stat().st_dev, place.stat().st_ino): place for place in reversed(found)}.values())[::-1]
