"""Adapters as data and maths: files, updates, and their exact sum. Needs torch and safetensors alone."""

from . import algebra
from .adapter import Adapter, LoadReport
from .formats import load_adapter, save_adapter
from .updates import LoRA, Update

__all__ = ["Adapter", "LoRA", "LoadReport", "Update", "algebra", "load_adapter", "save_adapter"]
