"""The name that `MixedWeights` had; `mixer.py` still uses it."""

from .mixed_weights import MixedWeights as MergedWeights

__all__ = ["MergedWeights"]
