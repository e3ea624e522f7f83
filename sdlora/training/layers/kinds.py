"""Which layer stands in for which frozen one, and the updates that saved weights make."""

from collections import defaultdict
from collections.abc import Mapping

from torch import Tensor, nn

from ...adapters.updates import Update
from .layer import Layer
from .lora import LoRAConv2d, LoRALinear
from .plan import Plan


def layer_for(module: nn.Linear | nn.Conv2d, plan: Plan, path: str) -> Layer:
    """The trainable layer around a frozen one."""
    return (LoRAConv2d if isinstance(module, nn.Conv2d) else LoRALinear)(module, plan, path)


def updates_from(weights: Mapping[str, Tensor], plan: Plan) -> dict[str, Update]:
    """The updates that a checkpoint's `{module path}.{name}` tensors make, as the layers would say them."""
    by_path: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, weight in weights.items():
        path, _, name = key.rpartition(".")
        by_path[path][name] = weight
    return {path: LoRALinear.update_of(own, plan.scale_of(path)) for path, own in by_path.items()}
