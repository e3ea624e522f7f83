"""Captions as tools: written by a local model, changed all at once, and all of it taken back."""

from .captioners import NAMES, Captioner, load_captioner
from .edits import Edit
from .journal import Journal
from .subjects import SUBJECTS, Subject, Wanted
from .work import Done, captions_of, describe_folder, edit_folder, open_journal, tag_frequencies

__all__ = [
    "NAMES",
    "SUBJECTS",
    "Captioner",
    "Done",
    "Edit",
    "Journal",
    "Subject",
    "Wanted",
    "captions_of",
    "describe_folder",
    "edit_folder",
    "load_captioner",
    "open_journal",
    "tag_frequencies",
]
