"""A second device made of the CPU, so that what moves between devices is tested where there is one only.

Tensors on it have their numbers in CPU tensors inside; an operation that takes tensors of both devices fails as on a
GPU, and so does one that is told to make its result on the wrong one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("privateuseone", 0)
ACROSS = (torch.ops.aten.copy_.default, torch.ops.aten.index.Tensor)  # what takes tensors of two devices on a GPU, too


class There(torch.Tensor):
    """A tensor on the second device."""

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> "There":
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "dtype": inner.dtype}
        return torch.Tensor._make_wrapper_subclass(cls, inner.size(), **layout, device=DEVICE)

    def __init__(self, inner: torch.Tensor) -> None:
        self.inner = inner

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return _run(operation, args, kwargs or {})


class _Both(TorchDispatchMode):
    """Sees the operations that make tensors, too."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        return _run(operation, args, kwargs or {})


class _FromLists(TorchFunctionMode):
    """Where PyTorch makes a tensor of a list it asks nobody, so that is done on the CPU."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.tensor and torch.device(kwargs.get("device") or "cpu") == DEVICE:
            return torch.tensor(*args, **kwargs | {"device": "cpu"}).to(DEVICE)
        if function is torch.Tensor.__getitem__ and isinstance(args[1], list):
            args = (args[0], torch.tensor(args[1]))
        return function(*args, **kwargs)


@contextmanager
def second_device() -> Iterator[torch.device]:
    """While this lasts, tensors can be moved to the device that it gives."""
    register = getattr(backend_registration, "_setup_privateuseone_for_python_backend", None)
    if register is None:
        pytest.skip("this PyTorch can't have devices made in Python")
    if not hasattr(torch, "privateuseone"):
        register()
        torch.privateuseone.get_amp_supported_dtype = lambda: [torch.float16, torch.bfloat16]
    with _Both(), _FromLists():
        yield DEVICE


def _run(operation: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, There)]
    here = [tensor for tensor in tensors if not isinstance(tensor, There) and tensor.dim()]  # GPUs take numbers, too
    if there and here and operation not in ACROSS:
        raise RuntimeError(f"{operation} was given tensors of two devices")
    asked = kwargs.get("device")
    on_second = bool(there) if asked is None else torch.device(asked).type == DEVICE.type
    given = kwargs | ({"device": torch.device("cpu")} if asked is not None else {})
    result = operation(*tree_map(_inner, args), **tree_map(_inner, given))
    for tensor in tensors:  # what was changed in place is still the same tensor
        if result is _inner(tensor):
            return tensor
    return tree_map(lambda leaf: There(leaf) if on_second and isinstance(leaf, torch.Tensor) else leaf, result)


def _inner(leaf: Any) -> Any:
    return leaf.inner if isinstance(leaf, There) else leaf
