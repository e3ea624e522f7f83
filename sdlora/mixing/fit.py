"""Whether an adapter was made for this base."""

from collections.abc import Mapping
from typing import Any

import torch

from ..adapters import Adapter
from ..errors import Error
from .module_kinds import is_mergeable, is_multiplying, tells_weight, weight_shape


def check_fit(adapter: Adapter, modules: Mapping[str, Any]) -> None:
    """Raises `Error` unless all of the adapter's modules fit: part of an adapter would be another adapter."""
    for path, update in adapter.updates.items():
        if path not in modules:
            raise Error(f"adapter {adapter.name!r} was made for another base: this one has no module {path}")
        module = modules[path]
        shape = weight_shape(module)
        assert shape is not None
        if not update.fits(torch.empty(shape, device="meta")):
            raise Error(
                f"adapter {adapter.name!r} was made for a base of another size: its {path} is for "
                f"{update.made_for}, this base's is {shape}"
            )
        if update.changes_bias and getattr(module, "bias", None) is None:
            raise Error(f"adapter {adapter.name!r} changes the bias of {path}, which has none in this base")
        if not is_mergeable(module) and not is_multiplying(module):
            raise Error(f"adapter {adapter.name!r} changes {path}, {_unknown(module)}")
        if update.needs_weight and not tells_weight(module):
            raise Error(f"adapter {adapter.name!r} ({update.kind}) needs the weight of {path}, {_unknown(module)}")


def _unknown(module: Any) -> str:
    return f"of which this quantised base has a {type(module).__name__} that can't be read: use the base unquantised"
