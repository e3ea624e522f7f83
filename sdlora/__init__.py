"""sdlora: train a style from a folder of images, mix styles with sliders, share one file.

Names are imported when they are first used, so that `import sdlora` and `sdlora --help` stay quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import Error
from .version import VERSION as __version__

if TYPE_CHECKING:
    from . import algebra as algebra
    from .adapters import Adapter, load_adapter, save_adapter
    from .bases import Base, load_base
    from .evaluation import evaluate
    from .mixing import GeneratedImage, Mixer
    from .training.config import TrainConfig
    from .training.run import train
    from .training.trainer import TrainedRun

_HOME = {
    "Adapter": "adapters",
    "Base": "bases",
    "GeneratedImage": "mixing",
    "Mixer": "mixing",
    "TrainConfig": "training.config",
    "TrainedRun": "training.trainer",
    "evaluate": "evaluation",
    "load_adapter": "adapters",
    "load_base": "bases",
    "save_adapter": "adapters",
    "train": "training.run",
}
__all__ = [
    "Adapter",
    "Base",
    "Error",
    "GeneratedImage",
    "Mixer",
    "TrainConfig",
    "TrainedRun",
    "__version__",
    "algebra",
    "evaluate",
    "load_adapter",
    "load_base",
    "save_adapter",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "algebra":
        return import_module(".algebra", __name__)
    if name not in _HOME:
        raise AttributeError(f"module 'sdlora' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
