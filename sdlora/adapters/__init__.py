"""Adapters as data and maths: files, updates, and their exact sum. Needs torch and safetensors alone."""

from .adapter import Adapter, LoadReport
from .formats import load_adapter, save_adapter
from .updates import LoRA, Update

__all__ = ["Adapter", "LoRA", "LoadReport", "Update", "load_adapter", "save_adapter"]
