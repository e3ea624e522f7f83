"""What a mix puts behind one module, since no change of its weight can stand for it: bottleneck adapters."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils.hooks import RemovableHandle

from ..adapters.updates import Bottleneck

Weighed = tuple[float, Bottleneck]


class Following:
    """Adds Σ wᵢ · bᵢ(y) to a module's outputs y, which have all in them that is merged or added by other hooks."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._hook: RemovableHandle | None = None

    def put(self, terms: Sequence[Weighed]) -> None:
        """Have these follow, and no others. Call it after all other hooks of a mix are in their places."""
        if self._hook:
            self._hook.remove()
            self._hook = None
        if not terms:
            return
        ready = list(terms)

        def hook(_module: Any, _arguments: object, outputs: Tensor) -> Tensor:
            ready[:] = [(w, bottleneck.suited_to(outputs)) for w, bottleneck in ready]  # copies at the first call alone
            added = [w * bottleneck.after(outputs) for w, bottleneck in ready]
            return outputs + sum(added[1:], added[0])

        self._hook = self._module.register_forward_hook(hook)
