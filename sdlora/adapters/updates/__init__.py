"""What an adapter does to one module: one small class a kind, each able to say its `delta(W)`."""

from .lora import LoRA
from .reading import update_from
from .update import Update

__all__ = ["LoRA", "Update", "update_from"]
