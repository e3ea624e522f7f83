"""What can be trained: parts with named weights, most of them layers that stand in for frozen ones."""

from .kinds import KINDS, layer_for, updates_from
from .layer import Layer
from .one_alpha import of_one_alpha
from .part import Part
from .plan import Plan

__all__ = ["KINDS", "Layer", "Part", "Plan", "layer_for", "of_one_alpha", "updates_from"]
