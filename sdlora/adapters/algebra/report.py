"""How exact a result is: the relative error of every module and of all of them together."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class ModuleError:
    """‖ΔW‖ of what was asked for, ‖ΔW' − ΔW‖ of what came out (Frobenius), and the rank; None where it has none."""

    norm: float
    error: float
    rank: int | None = None

    @property
    def relative(self) -> float:
        return _ratio(self.error, self.norm)


@dataclass(frozen=True)
class ErrorReport:
    """The error of each module by its path, before the rounding of the file's own dtype, and what else to know."""

    modules: dict[str, ModuleError]
    notes: tuple[str, ...] = ()

    @property
    def norm(self) -> float:
        """√Σ‖ΔW‖² over all modules."""
        return math.hypot(*(module.norm for module in self.modules.values()))

    @property
    def relative(self) -> float:
        """√Σ‖ΔW' − ΔW‖² / √Σ‖ΔW‖² over all modules."""
        return _ratio(math.hypot(*(module.error for module in self.modules.values())), self.norm)

    @property
    def worst(self) -> str | None:
        """The path of the module with the largest relative error; None where there are no modules."""
        return max(self.modules, key=lambda path: self.modules[path].relative, default=None)

    def as_json(self) -> dict[str, object]:
        """The report as plain data, for `--json`."""
        modules = {
            path: {"relative_error": m.relative, "norm": m.norm, "rank": m.rank} for path, m in self.modules.items()
        }
        return {"relative_error": self.relative, "norm": self.norm, "modules": modules, "notes": list(self.notes)}


def _ratio(error: float, norm: float) -> float:
    if norm:
        return error / norm
    return math.inf if error else 0.0
