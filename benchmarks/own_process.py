"""Measurements of memory, each in a process of its own: what one has held, the next does not find."""

import json
import subprocess
import sys
from typing import Any

Row = dict[str, Any]


def row_of(module: str, *arguments: object) -> Row:
    """What `python -m benchmarks.MODULE ARGUMENTS` prints last, as JSON; the `reason` where the process died."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if answer.returncode:  # killed for its memory, most likely
        return {"reason": f"the process ended with {answer.returncode}"}
    print(*arguments, last := answer.stdout.splitlines()[-1], file=sys.stderr, flush=True)
    return json.loads(last)
