"""The web UI: Gradio pages over sdlora's public API, a module a page. Started by `sdlora ui`."""

import os

# Read by Gradio when it is imported, which is why the modules below come after it.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

from .app import build
from .server import launch

__all__ = ["build", "launch"]
