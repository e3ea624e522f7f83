"""What `sdlora caption` does: one thing at a time, told in lines and as a document."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data.sample import resolve_folder
from ..devices import pick_device
from ..errors import Error
from .captioners import load_captioner
from .edits import Edit
from .journal import Journal
from .subjects import Subject, Wanted
from .work import Done, captions_of, describe_folder, edit_folder, open_journal, tag_frequencies

MOST_TAGS = 50
UNDO = "`sdlora caption DIR --undo` takes it back"


@dataclass(frozen=True)
class Asked:
    """The command's options."""

    model: str | None = None
    subject: Subject = "style"
    trigger: str | None = None
    prompt: str | None = None
    threshold: float = 0.35
    overwrite: bool = False
    replace: Sequence[str] = ()
    remove_trigger: str = ""
    prefix: str = ""
    suffix: str = ""
    add_trigger: str = ""
    tags: bool = False
    reviewed: bool = False
    undo: str | None = None
    dry_run: bool = False
    device: str = "auto"

    @property
    def edit(self) -> Edit:
        """Raises `Error` for a replacement without `=`."""
        return Edit(
            [_pair(text) for text in self.replace], self.remove_trigger, self.prefix, self.suffix, self.add_trigger
        )


@dataclass
class Told:
    """What to print: lines for people, a document for programs, warnings."""

    lines: list[str]
    document: dict[str, Any]
    warnings: list[str] = field(default_factory=list)


def carry_out(folder: str | Path, asked: Asked, say: Callable[[str], None] = lambda line: None) -> Told:
    """`say` hears of each caption as soon as a model has written it.

    Raises `Error` where more than one thing is asked for, or it can't be done.
    """
    edit = asked.edit
    given = [bool(asked.model), bool(edit), asked.tags, asked.reviewed, bool(asked.undo)]
    if sum(given) > 1:
        raise Error("one thing at a time: --model, or changes such as --prefix, or --tags, or --reviewed, or --undo")
    if asked.tags:
        return _tags(folder)
    if asked.reviewed:
        return _reviewed(open_journal(folder))
    if asked.undo:
        return _undo(open_journal(folder), everything=asked.undo == "all")
    if edit:
        return _changes(edit_folder(folder, edit, dry_run=asked.dry_run), asked.dry_run)
    return _described(folder, asked, say) if asked.model else _state(folder)


def _described(folder: str | Path, asked: Asked, say: Callable[[str], None]) -> Told:
    open_journal(folder)  # refuses a sample before a model is loaded
    waiting = [caption for caption in captions_of(folder) if asked.overwrite or not caption.text]
    if not waiting:
        return Told(["Every image has a caption; --overwrite describes them anew."], Done().as_dict())
    model = str(asked.model)
    captioner = load_captioner(model, device=pick_device(asked.device), threshold=asked.threshold)
    done = describe_folder(
        folder,
        captioner,
        model,
        wanted=Wanted(asked.subject, asked.trigger, asked.prompt),
        overwrite=asked.overwrite,
        dry_run=asked.dry_run,
        on_caption=lambda name, text: say(f"{name}: {text}"),
    )
    return _told(done, asked.dry_run)


def _changes(done: Done, dry_run: bool) -> Told:
    told = _told(done, dry_run)
    changes = [f"{name}: {before} → {after}" for name, (before, after) in done.changed.items()]
    return Told([*changes, *told.lines], told.document, told.warnings)


def _told(done: Done, dry_run: bool) -> Told:
    lines = []
    if dry_run:
        lines.append(f"{len(done.changed)} captions would be written.")
    elif done.changed:
        lines.append(f"{len(done.changed)} captions written; {UNDO}.")
    else:
        lines.append("Nothing to change.")
    if done.unreviewed:
        lines.append(f"{len(done.unreviewed)} of a model's captions are not reviewed yet: read them, then --reviewed.")
    return Told(lines, done.as_dict(), [f"{name}: {why}" for name, why in done.skipped.items()])


def _tags(folder: str | Path) -> Told:
    counts = tag_frequencies(folder)
    lines = [f"{count:6} {tag}" for tag, count in list(counts.items())[:MOST_TAGS]]
    if len(counts) > MOST_TAGS:
        lines.append(f"and {len(counts) - MOST_TAGS} more (--json has all)")
    return Told(lines or ["There is no caption."], {"tags": counts})


def _reviewed(journal: Journal) -> Told:
    files = journal.unreviewed()
    journal.review(files)
    return Told([f"{len(files)} captions are reviewed now."], {"reviewed": files})


def _undo(journal: Journal, *, everything: bool) -> Told:
    if not journal.changes:
        return Told(["There is nothing to take back."], {"restored": [], "left_alone": []})
    restored, kept = journal.undo(everything=everything)
    warnings = [f"{name}: left alone, for it was changed by hand since" for name in kept]
    return Told(
        [f"{len(restored)} captions are as they were before."], {"restored": restored, "left_alone": kept}, warnings
    )


def _state(folder: str | Path) -> Told:
    captions, unreviewed = captions_of(folder), Journal(resolve_folder(folder)).unreviewed()
    empty = [caption.image.name for caption in captions if not caption.text]
    lines = [f"{len(captions)} images, {len(captions) - len(empty)} with a caption of their own."]
    if empty:
        lines.append(f"Without one: {', '.join(empty[:10])}{' …' if len(empty) > 10 else ''}; --model describes them.")
    lines += [f"not reviewed: {name}" for name in unreviewed]
    return Told(lines, {"images": len(captions), "without_caption": empty, "unreviewed": unreviewed})


def _pair(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not equals or not old:
        raise Error(f"--replace {text!r}: give OLD=NEW, such as --replace 'grey=gray'")
    return old, new
