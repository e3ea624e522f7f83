"""What can be trained: parts with named weights, most of them layers that stand in for frozen ones."""

from .kinds import layer_for, updates_from
from .layer import Layer
from .part import Part
from .plan import Plan

__all__ = ["Layer", "Part", "Plan", "layer_for", "updates_from"]
