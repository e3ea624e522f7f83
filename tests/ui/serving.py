"""The whole app on a port of its own, in this process, so that a test can see what it opens and whom it calls."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import uvicorn

import sdlora
from sdlora.adapters.updates import LoRA
from ui.engine import Engine
from ui.safety import Hosts, Password
from ui.server import free_port
from ui.web import web_app


@dataclass(frozen=True)
class Served:
    workspace: Path
    engine: Engine
    port: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serve(workspace: Path, password: str = "") -> Iterator[Served]:
    """The app for a workspace, until the context ends."""
    port = free_port("127.0.0.1", 17860)
    engine = Engine(workspace, listed_bases_only=True)
    app = web_app(engine, Hosts("127.0.0.1"), Password("sdlora", password) if password else None)
    options = {"log_level": "warning", "ws": "none", "timeout_graceful_shutdown": 1}
    server = uvicorn.Server(uvicorn.Config(app, port=port, **options))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.05)
    try:
        yield Served(workspace, engine, port)
    finally:
        engine.close()
        server.should_exit = True
        thread.join(30)


def write_adapter(base, path, seed):
    """Random updates of rank 4 on a base's attention, strong enough to be seen."""
    generator = torch.Generator().manual_seed(seed)
    updates = {}
    for module_path, module in base.modules().items():
        if module_path.startswith("unet.") and module_path.endswith(("to_q", "to_k", "to_v", "to_out.0")):
            out_features, in_features = module.weight.shape
            up = torch.randn(out_features, 4, generator=generator) * module.weight.float().std() / 6
            updates[module_path] = LoRA(torch.randn(4, in_features, generator=generator), up, alpha=4.0)
    return sdlora.save_adapter(sdlora.Adapter(path.stem, updates), path)
