"""What a quantised weight stands for."""

from typing import Any

from torch import Tensor


def dequantised(weight: Any) -> Tensor | None:
    """The values that a layer with this weight computes with, where the weight is a tensor of a class that knows what
    its bytes mean (torchao's, quanto's); None for plain ones and for those that do not tell."""
    if not isinstance(weight, Tensor):
        return None
    if callable(original := getattr(weight, "get_original_weight", None)):  # torchao's NF4
        return original().detach()
    return weight.detach().dequantize() if type(weight).dequantize is not Tensor.dequantize else None
