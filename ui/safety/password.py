"""HTTP Basic: one user, one password."""

import base64
import binascii
import secrets


class Password:
    """Compares in constant time: how long a refusal takes says nothing of how much of a guess was right."""

    def __init__(self, user: str, password: str) -> None:
        pair = f"{user}:{password}"
        self._expected = [pair.encode("utf-8")]
        if not pair.isascii() and all(ord(c) < 256 for c in pair):
            self._expected.append(pair.encode("latin-1"))  # how some clients, Python's requests among them, send it

    def opens(self, header: str) -> bool:
        """Whether an `Authorization` header ("" where there is none) holds the right user and password."""
        scheme, _, encoded = header.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            given = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            return False
        return any(secrets.compare_digest(given, expected) for expected in self._expected)
