"""Exact algebra on adapters: their sum on a weight, merging, resizing, comparing.

`base` is, in this room, a mapping from module paths to weights; `sdlora.algebra` takes bases and their paths.
"""

from .blocks import block_of
from .comparison import Comparison, Likeness, Strength, Strengths, compare, strength
from .merging import METHODS, merge
from .mixed import Term, mixed_bias, mixed_weight
from .report import ErrorReport, ModuleError
from .resizing import resize

__all__ = [
    "METHODS",
    "Comparison",
    "ErrorReport",
    "Likeness",
    "ModuleError",
    "Strength",
    "Strengths",
    "Term",
    "block_of",
    "compare",
    "merge",
    "mixed_bias",
    "mixed_weight",
    "resize",
    "strength",
]
