"""Which names of this computer are answered to: another site must not reach the app through somebody's browser."""

import re
import socket
from collections.abc import Iterable
from ipaddress import ip_address

_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::\d{1,5})?", re.IGNORECASE)
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Hosts:
    """An allow-list of host names, whatever the port.

    A site can have its own name lead to 127.0.0.1 (DNS rebinding), and its scripts then read our answers; but the
    browser tells that name. An address in digits can't be rebound, so with `0.0.0.0`, where nobody knows which of this
    computer's addresses people use, all of these are allowed.
    """

    def __init__(self, bound: str, further: Iterable[str] = ()) -> None:
        bound = bound.strip("[]").lower()
        everywhere = bound in ("0.0.0.0", "::", "")
        self._any_address = everywhere
        self._names = {*LOOPBACK, bound, *(name.lower() for name in further)}
        if everywhere:
            own = socket.gethostname().lower()
            self._names |= {own, own.partition(".")[0], f"{own.partition('.')[0]}.local"}

    def add(self, name: str) -> None:
        """Allow one more, such as the tunnel's."""
        self._names.add(name.lower())

    def allows(self, host: str) -> bool:
        """Whether a `Host` header (`localhost:7860`, `[::1]`) names us."""
        name = _name(host)
        return name in self._names or (self._any_address and _is_address(name))

    def allows_origin(self, origin: str, host: str) -> bool:
        """Whether the page that asks is one of ours: of the very host and port that is asked, or of an allowed name
        that no other program of this computer has, such as the tunnel's."""
        scheme, separator, asking = origin.partition("://")
        if not separator or scheme not in ("http", "https"):
            return False  # `null` too: a page without an origin is none of ours
        name = _name(asking)
        return asking.lower() == host.lower() or (name in self._names and name not in LOOPBACK)


def _name(host: str) -> str:
    """Without the port and brackets, in lower case; "" for what is no host at all."""
    match = _HOST.fullmatch(host)
    return match["name"].strip("[]").lower().removesuffix(".") if match else ""


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
