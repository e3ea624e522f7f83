"""The Compare page."""

from .page import ComparePage

__all__ = ["ComparePage"]
