"""A training's place in the queue."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

State = Literal["waiting", "running", "paused", "failed"]
Wish = Literal["", "pause", "stop", "lend"]


@dataclass
class Ticket:
    """`run` is the name of its folder under `runs/`, kept free for it. `wish` is what was asked of the process that
    runs, `more` how many steps a finished run is to be trained longer; `message` says why it `failed`.

    `pid` and `created` (seconds since 1970) name its process: a later one may be given the same number.
    """

    run: str
    state: State = "waiting"
    wish: Wish = ""
    more: int = 0
    pid: int = 0
    created: float = 0.0
    started: float = 0.0
    message: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> "Ticket":
        """Of JSON; keys that a later version wrote are passed over."""
        known = {field.name for field in fields(cls)}
        return cls(**{key: value for key, value in row.items() if key in known})
