"""A whole checkpoint, a diffusers folder or one file, whose weights are read one by one by the network's own names."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from sdlora.adapters.formats.container import Container, InMemory, Tensors
from sdlora.bases.base import Base, Family, with_text_model
from sdlora.bases.checkpoint_file import read_checkpoint
from sdlora.bases.family import family_of_checkpoint, family_of_unet
from sdlora.bases.folder import read_json, variant_of, weights_files
from sdlora.bases.load import locate
from sdlora.bases.whole.places import Place, original_places


@dataclass(frozen=True)
class WholeCheckpoint:
    """UNet and text encoder(s) of a base on disk.

    `path` is what the user called it, `location` the folder or file. `places` says where each weight is, by the
    network's name with its component: `unet.conv_in.weight`, `text_encoder.text_model.….bias`.
    """

    path: str
    location: Path
    family: Family
    files: dict[Path, Tensors]
    places: dict[str, Place]

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each weight, from the files' headers."""
        entries = {file: opened.entries for file, opened in self.files.items()}
        stored = {name: entries[p.file][p.key].shape for name, p in self.places.items()}
        like = {name: torch.empty(shape, device="meta") for name, shape in stored.items()}
        return {name: tuple(place.part(like[name]).shape) for name, place in self.places.items()}

    def read(self, name: str) -> Tensor:
        """A weight as it is stored, in memory of its own. Other weights in the same tensor are not kept."""
        place = self.places[name]
        stored = self.files[place.file].read(place.key)
        part = place.part(stored)
        return part if part is stored else part.clone(memory_format=torch.contiguous_format)

    @property
    def modules(self) -> list[str]:
        """The paths of all modules that have a weight, in the order of the files."""
        return [name.removesuffix(".weight") for name in self.places if name.endswith(".weight")]


class StoredWeights(Mapping[str, Tensor]):
    """A checkpoint's weights by module path, each read when it is asked for."""

    def __init__(self, checkpoint: WholeCheckpoint) -> None:
        self._checkpoint = checkpoint

    def __getitem__(self, path: str) -> Tensor:
        return self._checkpoint.read(f"{path}.weight")

    def __contains__(self, path: object) -> bool:
        return f"{path}.weight" in self._checkpoint.places

    def __iter__(self) -> Iterator[str]:
        return iter(self._checkpoint.modules)

    def __len__(self) -> int:
        return len(self._checkpoint.modules)


def weights_of(base: Base | str | Path) -> Mapping[str, Tensor]:
    """The weights of a base by module path: those of the `Base` as it stands, or those on disk."""
    if isinstance(base, Base):
        weights = {path: getattr(module, "weight", None) for path, module in base.modules().items()}
        return {path: weight for path, weight in weights.items() if isinstance(weight, Tensor)}
    return StoredWeights(open_whole(base))


def open_whole(base: Base | str | Path) -> WholeCheckpoint:
    """The checkpoint of a base, or of what `load_base` takes. Headers are read, no weights.

    Raises `Error` when there is none, or it is of a model that sdlora does not know.
    """
    path = base.path if isinstance(base, Base) else str(base)
    location = locate(path)
    return _open_folder(location, path) if location.is_dir() else _open_file(location, path)


def _open_file(file: Path, path: str) -> WholeCheckpoint:
    opened = _tensors(file)
    shapes = {key: entry.shape for key, entry in opened.entries.items()}
    family = family_of_checkpoint({key: torch.empty(shape, device="meta") for key, shape in shapes.items()}, path)
    return WholeCheckpoint(path, file, family, {file: opened}, original_places(family, file, shapes, path))


def _open_folder(folder: Path, path: str) -> WholeCheckpoint:
    read_json(folder / "model_index.json", path)
    family = family_of_unet(read_json(folder / "unet" / "config.json", path), path)
    files: dict[Path, Tensors] = {}
    places: dict[str, Place] = {}
    for component in ("unet", "text_encoder", *(["text_encoder_2"] if family == "sdxl" else [])):
        for file in weights_files(folder / component, variant_of(folder / component, path)):
            files[file] = _tensors(file)
            for key in files[file].entries:
                name = key if component == "unet" else with_text_model(key)
                places[f"{component}.{name}"] = Place(file, key)
    return WholeCheckpoint(path, folder, family, files, places)


def _tensors(file: Path) -> Tensors:
    return Container(file) if file.suffix.lower() == ".safetensors" else InMemory(*read_checkpoint(file))
