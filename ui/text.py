"""Sentences and small pieces of HTML. Whatever comes from a user or a file is escaped here."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from .job import Progress


def progress_bar(progress: Progress, before: str = "") -> str:
    """A bar with a sentence below it, which begins with `before`; one without a value where nobody knows how long it
    takes."""
    value = f'value="{progress.done}" max="{progress.total}"' if progress.stage == "drawing" else ""
    bar = f'<progress aria-label="Progress" {value}></progress>'
    return f'<div role="status">{bar}{escape(before)}{_sentence(progress)}</div>'


def note(text: str) -> str:
    """A line where the bar is otherwise."""
    return f'<div role="status">{escape(text)}</div>'


OWN_STYLE = (
    "<b>Train your own style.</b> Some twenty pictures are enough, with captions or without; "
    "on the small base it takes a few minutes, on SD 1.5 and SDXL you want a GPU."
)


def absorbed(changed: Mapping[str, Any], left_out: Sequence[str]) -> str:
    """What became of a prompt that held tags or parameters."""
    settings = sorted(changed.keys() - {"prompt", "mix"})
    parts = ["adapters"] if "mix" in changed else []
    parts += [key.replace("_", " ") for key in settings]
    done = f"Taken out of the prompt: {', '.join(parts)}." if parts else "Tags were taken out of the prompt."
    return note(" ".join([done, *(f"{sentence[:1].upper()}{sentence[1:]}." for sentence in left_out)]))


def duration(seconds: float) -> str:
    """`7 s`, `2 min 5 s`, `4 h 26 min`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"


def _sentence(progress: Progress) -> str:
    if progress.stage == "waiting":
        return f"waiting for {progress.total} before this one" if progress.total else "starting"
    if progress.stage == "loading":
        return "preparing the base and the mix"
    left = "" if progress.seconds_left is None else f" · {duration(progress.seconds_left)} left"
    return f"{progress.unit} {progress.done} of {progress.total}{left}"
