"""The Mix page."""

from .page import MixPage

__all__ = ["MixPage"]
