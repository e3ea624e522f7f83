"""Processes of their own whose imports are paid for once, where the system has a fork server."""

import multiprocessing
import sys
from typing import Any

PRELOADED = ["sdlora.training.run", "ui.server"]


def processes() -> Any:
    """How to start one that can be killed."""
    if sys.platform != "linux":  # a Mac's own libraries don't like to be forked, and Windows can't
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context
