"""Exact algebra on adapters: their sum on a weight, merging, resizing, comparing. No SVD of a full ΔW where it is low-rank."""

from .mixed import Term, mixed_bias, mixed_weight

__all__ = ["Term", "mixed_bias", "mixed_weight"]
