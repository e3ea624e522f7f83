"""What goes with an adapter file when it is shared: cards, samples, a thumbnail; and the way to Hugging Face."""

from .kit import Kit, make_kit
from .push import push
from .samples import Drawing

__all__ = ["Drawing", "Kit", "make_kit", "push"]
