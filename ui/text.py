"""Sentences and small pieces of HTML. Whatever comes from a user or a file is escaped here."""

from html import escape
from pathlib import Path

from .job import Progress


def progress_bar(progress: Progress) -> str:
    """A bar with a sentence below it; one without a value where nobody knows how long it takes."""
    value = f'value="{progress.done}" max="{progress.total}"' if progress.stage == "drawing" else ""
    return f'<div role="status"><progress aria-label="Progress" {value}></progress>{_sentence(progress)}</div>'


def note(text: str) -> str:
    """A line where the bar is otherwise."""
    return f'<div role="status">{escape(text)}</div>'


def trigger_words(words: str) -> str:
    """What to write into the prompt for an adapter."""
    return f"trigger words: <b>{escape(words)}</b>" if words else ""


def no_adapters_yet(folder: Path) -> str:
    """The card for a workspace without adapters."""
    return (
        "<b>No adapters yet.</b> Train two styles with <code>sdlora demo</code>, or your own with "
        "<code>sdlora train --images FOLDER --name NAME</code>, then press Refresh. "
        f"Adapter files lie in <code>{escape(folder.as_posix())}</code>."
    )


def duration(seconds: float) -> str:
    """`7 s`, `2 min 5 s`."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"


def _sentence(progress: Progress) -> str:
    if progress.stage == "waiting":
        return f"waiting for {progress.total} before this one" if progress.total else "starting"
    if progress.stage == "loading":
        return "preparing the base and the mix"
    left = "" if progress.seconds_left is None else f" · {duration(progress.seconds_left)} left"
    return f"step {progress.done} of {progress.total}{left}"
