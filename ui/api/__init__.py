"""The part of A1111's HTTP API that its clients use, over the same engine and queue as the pages.

https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/API
"""

from .router import api_router

__all__ = ["api_router"]
