"""The whole app, served to tests: in this process, so that a test can see what it opens and whom it calls, or in one of
its own, as a user starts it."""

import os
import re
import sys
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
from sdlora.cli import main
from tests import forked
from ui.engine import Engine
from ui.safety import Hosts, Password
from ui.server import free_port
from ui.web import web_app

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = Path(os.environ.get("SDLORA_SCREENSHOTS", ROOT / "artifacts"))
SECONDS = 1000  # Playwright counts milliseconds


class Server:
    """`sdlora ui` on a workspace, which may be stopped and started again."""

    def __init__(self, workspace: Path, log: Path, *options: str) -> None:
        self.workspace, self._log, self._options = workspace, log, options
        self.address = ""

    def start(self) -> None:
        """Until it says where it is."""
        self._log.write_bytes(b"")  # so that it does not tell of the server before
        arguments = ["ui", "--workspace", str(self.workspace), *map(str, self._options)]
        self._process = forked.processes().Process(
            target=_sdlora, args=(arguments, self._log, self.workspace / "locks"), daemon=True
        )
        self._process.start()
        deadline = time.monotonic() + 180
        while not (found := re.search(r"http://\S+", self.log)):
            assert time.monotonic() < deadline and self._process.is_alive(), self.log
            time.sleep(0.1)
        self.address = found[0]

    def stop(self) -> None:
        """Whatever pages are open; nothing that went wrong has been said."""
        self._process.terminate()
        self._process.join(30)
        assert not self._process.is_alive(), f"it does not stop: {self.log[-3000:]}"
        assert "Traceback" not in self.log, self.log[-3000:]

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")


def _sdlora(arguments: list[str], log: Path, locks: Path) -> None:
    """The command in a process of its own, everything that it says in a file."""
    os.environ |= {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    os.environ |= {"SDLORA_LOCKS": str(locks)}
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(file, stream.fileno())
        stream.reconfigure(line_buffering=True)
    sys.argv = ["sdlora", *arguments]
    main()


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


def write_adapter(base, path, seed, trigger=""):
    """Random updates of rank 4 on a base's attention, strong enough to be seen."""
    generator = torch.Generator().manual_seed(seed)
    updates = {}
    for module_path, module in base.modules().items():
        if module_path.startswith("unet.") and module_path.endswith(("to_q", "to_k", "to_v", "to_out.0")):
            out_features, in_features = module.weight.shape
            up = torch.randn(out_features, 4, generator=generator) * module.weight.float().std() / 6
            updates[module_path] = LoRA(torch.randn(4, in_features, generator=generator), up, alpha=4.0)
    metadata = {"modelspec.trigger_phrase": trigger} if trigger else {}
    return sdlora.save_adapter(sdlora.Adapter(path.stem, updates, metadata=metadata), path)


def screenshot(page, name):
    """The whole page, where CI keeps it."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.wait_for_timeout(500)  # what moves has come to rest
    page.screenshot(path=str(SCREENSHOTS / f"{name}.png"), full_page=True)
