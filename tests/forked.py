"""Processes of their own whose imports are paid for once, where the system has a fork server."""

import multiprocessing
from typing import Any

PRELOADED = ["sdlora.training.run", "ui.server"]


def processes() -> Any:
    """How to start one that can be killed."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context
