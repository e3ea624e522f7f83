"""The error that a user reads: one sentence that says what is wrong, where, and what to do."""


class Error(Exception):
    """A user's mistake or a condition outside the program. The CLI prints it as one sentence and exits with 1."""
