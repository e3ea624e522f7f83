"""Adapter files at the edge: one module a format, each turning its keys into module paths and back.

Names are imported when they are first used: reading a header (`header.py`) must not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .conversion import convert
    from .load import load_adapter
    from .save import save_adapter

_HOME = {"convert": "conversion", "load_adapter": "load", "save_adapter": "save"}
__all__ = ["convert", "load_adapter", "save_adapter"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sdlora.adapters.formats' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
