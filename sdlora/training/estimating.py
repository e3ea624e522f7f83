"""What a training will take, measured: `python -m sdlora.training.estimating CONFIG.toml` prints it as JSON.

A process of its own, so that all it needed is free again when it is over.
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from ..devices import pick_device
from ..errors import Error
from .config import TrainConfig
from .defaults import resolve, with_sample_facts
from .device_lock import hold
from .material import gather
from .memory_use import room
from .preflight import Preflight
from .reading import read_base


@dataclass(frozen=True)
class Outlook:
    """`step_seconds` for each of `steps`; `memory` in bytes of the `room` there is, None where a step ran out of it."""

    steps: int
    step_seconds: float
    memory: int | None
    room: int


def outlook(config: TrainConfig) -> Outlook:
    """Make two real steps on the config's base and largest bucket; nothing is written.

    Raises `Error` as a training would, and where another one has the device.
    """
    config = with_sample_facts(config)
    device = pick_device(config.device)
    with hold(str(device), "measuring a step", wait=False):
        material = gather(config)
        base = read_base(config, device)
        resolved, _ = resolve(config, base, material, device, 1)
        space, preflight = room(device), Preflight(base, material, device)
        memory = preflight.need(resolved)
        seconds = preflight.seconds(resolved) if memory is not None else 0.0
    return Outlook(resolved.steps, seconds, memory, space)


def main(path: str) -> dict[str, object]:
    """The outlook of a config file, or the sentence that says why there is none."""
    try:
        return asdict(outlook(TrainConfig.load(Path(path))))
    except Error as problem:
        return {"problem": str(problem)}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
