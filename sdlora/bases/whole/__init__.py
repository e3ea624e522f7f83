"""Whole checkpoints on disk, read and written module by module: `extract` and `apply`."""

from sdlora.bases.whole.applying import Applied, apply
from sdlora.bases.whole.checkpoint import WholeCheckpoint, open_whole, weights_of
from sdlora.bases.whole.extracting import extract

__all__ = ["Applied", "WholeCheckpoint", "apply", "extract", "open_whole", "weights_of"]
