"""Serving the app: address, port, password, tunnel."""

import os
import secrets
import socket
import webbrowser
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import click
import uvicorn

from sdlora.errors import Error

from .engine import Engine
from .safety import Gate, Hosts, Password
from .web import web_app

USER = "sdlora"
PORTS = 100  # tried one after the other
GRACE = 2  # seconds that answers still have when the server stops; a page keeps a connection open for ever


def launch(
    workspace: str | Path,
    host: str = "127.0.0.1",
    port: int = 7860,
    share: bool = False,
    password: str | None = None,
    open_browser: bool = False,
    allow_hosts: Sequence[str] = (),
) -> None:
    """Serve the UI and its HTTP API until Ctrl-C. Prints its address, and the password where one had to be made up.

    An address that others can reach, or `share`, is never without a password, and takes the listed bases only.
    `allow_hosts` are further names by which the server is reached, through a proxy for instance. Raises `Error` when no
    port is free or the address is not this computer's.
    """
    private = is_loopback(host) and not share
    if (free := free_port(host, port)) != port:
        click.echo(f"Port {port} is taken, {free} is not.")
    if not private and not password:
        password = secrets.token_urlsafe(12)
        click.echo(f"Others can reach this address, so it has a password: user {USER}, password {password}")
    engine = Engine(Path(workspace), listed_bases_only=not private)
    engine.outputs.mkdir(parents=True, exist_ok=True)
    engine.runs.start()
    hosts = Hosts(host, allow_hosts)
    app = web_app(engine, hosts, Password(USER, password) if password else None)
    address = (share and open_tunnel(host, free, hosts)) or local_address(host, free)

    def say() -> None:
        click.echo(f"sdlora is at {address}  (Ctrl-C stops it)")
        if open_browser:
            webbrowser.open(address)

    try:
        _Server(_config(app, host, free), say).run()
    except KeyboardInterrupt:
        click.echo("Stopped.")
    finally:
        engine.close()


def is_loopback(host: str) -> bool:
    """Whether only this computer can reach `host`."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def free_port(host: str, first: int) -> int:
    """The first port from `first` on that nobody listens at. Raises `Error` when there is none, or no such address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in range(first, min(first + PORTS, 2**16)):
        with socket.socket(family) as probe:
            if os.name != "nt":  # a port just left is free on POSIX; on Windows this would take one that is in use
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host.strip("[]"), port))
            except socket.gaierror:
                raise Error(f"There is no address {host}: give --host an address of this computer.") from None
            except OSError:
                continue
            return port
    raise Error(f"No port from {first} on is free at {host}: name another with --port, or check --host.")


def local_address(host: str, port: int) -> str:
    """What to type into a browser of this computer."""
    name = host.strip("[]")
    name = "127.0.0.1" if name in ("0.0.0.0", "::") else f"[{name}]" if ":" in name else name
    return f"http://{name}:{port}/"


def open_tunnel(host: str, port: int, hosts: Hosts) -> str | None:
    """The address of Gradio's tunnel to us, which is then one of ours; None where there is no way to its server."""
    from gradio.networking import setup_tunnel

    try:
        address = setup_tunnel(
            urlsplit(local_address(host, port)).hostname or host, port, secrets.token_urlsafe(32), None, None
        )
    except Exception as problem:  # whatever its own program and the network come up with
        click.echo(f"Gradio's tunnel did not open, so the page is not shared ({problem}): it needs the internet.")
        return None
    address = urlsplit(address)._replace(scheme="https").geturl()
    hosts.add(urlsplit(address).hostname or "")
    return address


class _Server(uvicorn.Server):
    """Says so once it answers."""

    def __init__(self, config: uvicorn.Config, say: Callable[[], None]) -> None:
        super().__init__(config)
        self._say = say

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._say()


def _config(app: Gate, host: str, port: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=host.strip("[]"),
        port=port,
        ws="none",
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )
