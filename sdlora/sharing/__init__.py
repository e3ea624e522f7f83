"""What goes with an adapter file when it is shared: cards, samples, a thumbnail; and the way to Hugging Face."""

from .kit import Kit, make_kit
from .package import Package, Story, make_package
from .push import push
from .samples import Drawing

__all__ = ["Drawing", "Kit", "Package", "Story", "make_kit", "make_package", "push"]
