"""Read an adapter: a file, or a folder as PEFT and diffusers write it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import Error
from ..adapter import Adapter
from .container import Container, Tensors, data_hash
from .peft_config import LARGEST_TEXT, PeftConfig, parsed
from .pickled import read_pickled
from .reading import read_adapter

PICKLED = (".pt", ".pth", ".ckpt", ".bin")
CAN_CARRY_CODE = "is a pickled file, which can carry code: make it a .safetensors first with `sdlora convert`"
OLD_PEFT_WEIGHTS = "adapter_model.bin"
CONFIG, PEFT_WEIGHTS, DIFFUSERS_WEIGHTS = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "pytorch_lora_weights.safetensors",
)
COMPONENTS = ("unet", "text_encoder", "text_encoder_2")


def load_adapter(path: str | Path) -> Adapter:
    """Read an adapter file of any format, or a folder with PEFT's `adapter_config.json`.

    Keys that are not understood are listed in `adapter.report`, modules that make no sense are left out there with the
    reason, the rest is loaded. Raises `Error` when there is no such file, it is not a safetensors file, it is for
    another model, or nothing in it is an adapter's.
    """
    path = Path(path)
    if path.is_dir():
        return from_folder(path)
    if path.suffix.lower() in PICKLED:
        raise Error(f"{path} {CAN_CARRY_CODE}")
    return _with_hash(read_adapter(Container(path), path.stem, str(path)), path)


def from_folder(folder: Path, pickled: bool = False) -> Adapter:
    """A PEFT folder of one network or with one folder for each; or diffusers' folder with its one file.

    `pickled` allows PEFT's `adapter_model.bin`, read without running code from it.
    """
    if (folder / CONFIG).is_file():
        return _from_peft_folder(folder, None, pickled)
    parts = [
        _from_peft_folder(folder / name, name, pickled) for name in COMPONENTS if (folder / name / CONFIG).is_file()
    ]
    if parts:
        return _together(folder.name, parts)
    if (folder / DIFFUSERS_WEIGHTS).is_file():
        return replace(load_adapter(folder / DIFFUSERS_WEIGHTS), name=folder.name)
    raise Error(f"{folder} is a folder without {CONFIG} or {DIFFUSERS_WEIGHTS}: give the adapter's file itself")


def _from_peft_folder(folder: Path, component: str | None, pickled: bool) -> Adapter:
    weights, old_weights = folder / PEFT_WEIGHTS, folder / OLD_PEFT_WEIGHTS
    use_old = old_weights.is_file() and not weights.is_file()
    if use_old and not pickled:
        raise Error(f"{old_weights} {CAN_CARRY_CODE}")
    source: Tensors = read_pickled(old_weights)[0] if use_old else Container(weights)
    settings = _settings(folder / CONFIG)
    component = component or _component(settings)
    # without knowing the network, the settings count for whichever the names tell
    configs = {name: PeftConfig(settings) for name in ([component] if component else COMPONENTS[:2])}
    adapter = read_adapter(source, folder.name, str(folder), configs, component)
    return adapter if use_old else _with_hash(adapter, weights)


def _settings(file: Path) -> dict[str, Any]:
    if file.stat().st_size > LARGEST_TEXT:
        raise Error(f"{file} is larger than any adapter's settings")
    settings = parsed(file.read_text(encoding="utf-8", errors="replace"))
    if not settings:
        raise Error(f"{file} is not JSON as PEFT writes it: save the adapter again")
    return settings


def _component(settings: dict[str, Any]) -> str | None:
    """The network that the settings name by its class, where they do."""
    mapping = settings.get("auto_mapping")
    name = mapping.get("base_model_class") if isinstance(mapping, dict) else None
    classes = {"CLIPTextModel": "text_encoder", "CLIPTextModelWithProjection": "text_encoder_2"}
    return {"UNet2DConditionModel": "unet", **classes}.get(str(name))


def _together(name: str, parts: list[Adapter]) -> Adapter:
    """One adapter of several networks' folders. The family is that of the part which tells."""
    families = {part.family for part in parts} - {None}
    first = parts[0]
    report = replace(
        first.report,
        unknown=tuple(key for part in parts for key in part.report.unknown),
        left_out={path: reason for part in parts for path, reason in part.report.left_out.items()},
        warnings=tuple(dict.fromkeys(warning for part in parts for warning in part.report.warnings)),
    )
    updates = {path: update for part in parts for path, update in part.updates.items()}
    family = families.pop() if len(families) == 1 else None
    metadata = {key: value for key, value in first.metadata.items() if key != "sshs_model_hash"}
    return replace(first, name=name, updates=updates, metadata=metadata, family=family, report=report)


def _with_hash(adapter: Adapter, path: Path) -> Adapter:
    adapter.metadata.setdefault("sshs_model_hash", data_hash(path))
    return adapter
