"""Folders of images that may be trained on: what was dropped into the page, samples, folders of listed roots."""

from .receiving import Received, receive
from .shelf import Dataset, Shelf

__all__ = ["Dataset", "Received", "Shelf", "receive"]
