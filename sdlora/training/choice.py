"""What was chosen for a user, with the reason that the run tells."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Choice:
    """One setting that was chosen, and why."""

    key: str
    value: Any
    reason: str
