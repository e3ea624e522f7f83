"""What the doctor needs to know of a base: read from its configs, without its weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import CLIPTokenizer

from ...bases.checkpoint_file import read_checkpoint
from ...bases.family import family_of_checkpoint
from ...bases.folder import read_json
from ...bases.geometry import family_config, shipped_tokenizers
from ...bases.load import locate
from ...errors import Error


@dataclass(frozen=True)
class BaseFacts:
    """`resolution`: the side in pixels that it was trained at; `step`: what the sides of images are multiples of."""

    name: str
    resolution: int
    step: int
    tokenizers: tuple[Any, ...]


def base_facts(name: str) -> BaseFacts:
    """Of anything that `load_base` takes. Raises `Error` as it does."""
    location = locate(name)
    if location.is_file():
        family = family_of_checkpoint(read_checkpoint(location)[0], name)
        config = family_config(family)
        return _facts(name, config["unet"], config["vae"], shipped_tokenizers(family))
    unet, vae = (read_json(location / part / "config.json", name) for part in ("unet", "vae"))
    return _facts(name, unet, vae, [_tokenizer(folder, name) for folder in _tokenizer_folders(location)])


def _facts(name: str, unet: dict[str, Any], vae: dict[str, Any], tokenizers: list[Any]) -> BaseFacts:
    try:
        factor = 2 ** (len(vae["block_out_channels"]) - 1)
        step = factor * 2 ** (len(unet["block_out_channels"]) - 1)
        return BaseFacts(name, int(unet["sample_size"]) * factor, step, tuple(tokenizers))
    except (KeyError, TypeError) as problem:
        raise Error(f"{name} is no Stable Diffusion that sdlora knows: its config has no {problem}.") from problem


def _tokenizer_folders(location: Path) -> list[Path]:
    found = [location / part for part in ("tokenizer", "tokenizer_2") if (location / part).is_dir()]
    if not found:
        raise Error(f"{location} is not a complete diffusers model: its folder tokenizer is missing.")
    return found


def _tokenizer(folder: Path, name: str) -> Any:
    try:
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as problem:
        raise Error(f"The tokenizer of {name} could not be read: {' '.join(str(problem).split())}") from problem
