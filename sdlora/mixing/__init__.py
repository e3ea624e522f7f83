"""Several adapters at once on one base, and the pictures they make."""

from .generated import GeneratedImage, Parameters
from .mixer import Mixer

__all__ = ["GeneratedImage", "Mixer", "Parameters"]
