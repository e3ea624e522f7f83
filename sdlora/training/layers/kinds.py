"""Which layer stands in for which frozen one, and the updates that saved weights make."""

from collections import defaultdict
from collections.abc import Mapping

from torch import Tensor, nn

from ...adapters.updates import Update
from .adaptive import AdaptiveConv2d, AdaptiveLinear
from .bottleneck import BottleneckLayer
from .dora import DoRAConv2d, DoRALinear
from .full import FullLayer
from .layer import Layer
from .loha import LoHaLayer
from .lokr import LoKrLayer
from .lora import LoRAConv2d, LoRALinear
from .one_alpha import of_one_alpha
from .plan import Plan
from .started import StartedConv2d, StartedLinear

# Kind → its layer for linear layers, and for convolutions. A locon is a lora whose targets hold the convolutions.
KINDS: dict[str, tuple[type[Layer], type[Layer]]] = {
    "lora": (LoRALinear, LoRAConv2d),
    "locon": (LoRALinear, LoRAConv2d),
    "dora": (DoRALinear, DoRAConv2d),
    "loha": (LoHaLayer, LoHaLayer),
    "lokr": (LoKrLayer, LoKrLayer),
    "full": (FullLayer, FullLayer),
    "bottleneck": (BottleneckLayer, BottleneckLayer),
}


def layer_for(module: nn.Linear | nn.Conv2d, plan: Plan, path: str) -> Layer:
    """The trainable layer around a frozen one."""
    return _layers(plan)[isinstance(module, nn.Conv2d)](module, plan, path)


def updates_from(weights: Mapping[str, Tensor], plan: Plan) -> dict[str, Update]:
    """The updates that a checkpoint's `{module path}.{name}` tensors make, as the layers would say them."""
    by_path: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, weight in weights.items():
        path, _, name = key.rpartition(".")
        by_path[path][name] = weight
    update_of = _layers(plan)[0].update_of  # the same for convolutions
    return of_one_alpha({path: update_of(own, plan.scale_of(path)) for path, own in by_path.items()})


def _layers(plan: Plan) -> tuple[type[Layer], type[Layer]]:
    """The layers for linear ones and for convolutions. Other starts, and ranks that are found, are a LoRA's alone."""
    if plan.adaptive:
        return AdaptiveLinear, AdaptiveConv2d
    return KINDS[plan.kind] if plan.start == "usual" else (StartedLinear, StartedConv2d)
