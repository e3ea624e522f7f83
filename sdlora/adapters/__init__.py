"""Adapters as data and maths: files, updates, and their exact sum. Needs torch and safetensors alone.

Names are imported when they are first used: listing a folder reads headers and must not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import algebra as algebra
    from .adapter import Adapter, LoadReport
    from .formats import load_adapter, save_adapter
    from .updates import LoRA, Update

_HOME = {
    "Adapter": "adapter",
    "LoRA": "updates",
    "LoadReport": "adapter",
    "Update": "updates",
    "load_adapter": "formats",
    "save_adapter": "formats",
}
__all__ = ["Adapter", "LoRA", "LoadReport", "Update", "algebra", "load_adapter", "save_adapter"]


def __getattr__(name: str) -> Any:
    if name == "algebra":
        return import_module(".algebra", __name__)
    if name not in _HOME:
        raise AttributeError(f"module 'sdlora.adapters' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
