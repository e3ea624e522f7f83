"""Serving the app: address, port, password, and what the browser may fetch."""

import os
import secrets
import socket
import time
from ipaddress import ip_address
from pathlib import Path

import click

from sdlora.errors import Error

from .app import pages
from .engine import Engine
from .theme import CSS, theme

USER = "sdlora"
PORTS = 100  # tried one after the other


def launch(
    workspace: str | Path,
    host: str = "127.0.0.1",
    port: int = 7860,
    share: bool = False,
    password: str | None = None,
    open_browser: bool = False,
) -> None:
    """Serve the UI until Ctrl-C. Prints its address, and the password where one had to be made up.

    An address that others can reach, or `share`, is never without a password, and takes the listed bases only.
    Raises `Error` when no port is free or the address is not this computer's.
    """
    private = is_loopback(host) and not share
    if (free := free_port(host, port)) != port:
        click.echo(f"Port {port} is taken, {free} is not.")
    if not private and not password:
        password = secrets.token_urlsafe(12)
        click.echo(f"Others can reach this address, so it has a password: user {USER}, password {password}")
    engine = Engine(Path(workspace), listed_bases_only=not private)
    engine.outputs.mkdir(parents=True, exist_ok=True)
    app = pages(engine)
    _, address, shared = app.queue(api_open=False).launch(
        server_name=host,
        server_port=free,
        share=share,
        auth=(USER, password) if password else None,
        auth_message=f"The user name is {USER}; the password was printed where sdlora ui was started.",
        inbrowser=open_browser,
        allowed_paths=[str(engine.outputs.resolve())],
        theme=theme(),
        css_paths=CSS,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        show_error=False,
        quiet=True,
        prevent_thread_lock=True,
    )
    if share and not shared:
        click.echo("Gradio's tunnel did not open (it needs the internet): the page is not shared.")
    click.echo(f"sdlora is at {shared or address}  (Ctrl-C stops it)")
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        click.echo("Stopped.")
    finally:
        engine.close()
        app.close(verbose=False)


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
