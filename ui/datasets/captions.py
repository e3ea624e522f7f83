"""The captions of a dataset, changed one by one or all at once, and all of it taken back."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sdlora.captioning import Edit, captions_of, edit_folder, open_journal
from sdlora.errors import Error

from .shelf import Dataset

A_PAGE = 12
LONGEST = 4000  # characters


@dataclass(frozen=True)
class Captioned:
    """An image and its caption; `file`, the caption's file below the dataset's folder, is what a page names it by.
    `unreviewed`: a model wrote it and nobody has looked at it."""

    image: Path
    file: str
    text: str
    unreviewed: bool


def captioned(dataset: Dataset) -> list[Captioned]:
    """All images with their captions."""
    unreviewed = set(open_journal(dataset.folder).unreviewed()) if dataset.own else set()
    found = []
    for caption in captions_of(dataset.folder):
        file = caption.file.relative_to(dataset.folder).as_posix()
        found.append(Captioned(caption.image, file, caption.text, file in unreviewed))
    return found


def page_of(rows: Sequence[Captioned], number: int) -> tuple[Sequence[Captioned], int, int]:
    """One page of them, its number (from 0 on, as near as there is one), and how many there are."""
    pages = max(1, -(-len(rows) // A_PAGE))
    number = min(max(0, number), pages - 1)
    return rows[number * A_PAGE : (number + 1) * A_PAGE], number, pages


def write_caption(dataset: Dataset, file: str, text: str) -> None:
    """Save one caption. Raises `Error` for a file that is no image's caption, and for text that is none."""
    text = "\n".join(" ".join(line.split()) for line in text.splitlines()).strip()
    if len(text) > LONGEST or (not text.isprintable() and "\n" not in text):
        raise Error(f"This caption can't be saved: give at most {LONGEST} characters of plain text.")
    row = next((row for row in captioned(dataset) if row.file == file), None)
    if row is None:
        raise Error("This image is no longer there.")
    if row.text == text:
        return
    journal = open_journal(dataset.folder)
    journal.write(journal.next_operation(), file, text, "hand", described=False)
    journal.review([file])


def change_all(dataset: Dataset, edit: Edit) -> int:
    """Change all captions at once; how many were changed."""
    return len(edit_folder(dataset.folder, edit).changed)


def take_back(dataset: Dataset) -> str:
    """Undo the last change; a sentence on what was done."""
    journal = open_journal(dataset.folder)
    if not journal.changes:
        return "There is nothing to take back."
    restored, kept = journal.undo(everything=False)
    left = f" {len(kept)} were changed elsewhere since and stay." if kept else ""
    return f"{len(restored)} {'caption is' if len(restored) == 1 else 'captions are'} as before.{left}"


def can_take_back(dataset: Dataset) -> bool:
    """Whether there is anything to undo."""
    return dataset.own and bool(open_journal(dataset.folder).changes)
