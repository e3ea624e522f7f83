"""What a base is made of, where it is loaded from, its family and prediction type. Mini lies in `mini/`."""

from sdlora.bases.base import Base, Family
from sdlora.bases.load import load_base

__all__ = ["Base", "Family", "load_base"]
