"""The error that a user reads: one sentence that says what is wrong, where, and what to do."""

LONGEST = 1000  # characters


class Error(Exception):
    """A user's mistake or a condition outside the program. The CLI prints it as one sentence and exits with 1."""


def printable(text: str, longest: int = LONGEST) -> str:
    """A file's text on one line: cut, and with what would steer a terminal (escapes, other directions) spelt out."""
    cut = text if len(text) <= longest else f"{text[:longest]}…"
    return cut if cut.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)
