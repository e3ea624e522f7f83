"""Writing and changing the captions of a folder, each time so that it can be taken back."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data.captions import with_trigger
from ..data.doctor.caption_statistics import tags_of
from ..data.doctor.listing import list_folder
from ..data.doctor.metadata import read_metadata
from ..data.doctor.pairing import Pairing, pictures_and_masks
from ..data.images import open_image
from ..data.sample import resolve_folder, sample_facts
from ..errors import Error
from .captioners import Captioner
from .edits import Edit
from .journal import Journal
from .subjects import Wanted

ANY_STYLE = Wanted()


@dataclass(frozen=True)
class Caption:
    """An image and its own caption ("" for none, or for one that only its folder's name gives), and the `file` for it.
    `readable` is False where that file is not UTF-8."""

    image: Path
    text: str
    file: Path
    readable: bool


@dataclass
class Done:
    """Caption file -> (before, after), and image -> why nothing was written. `unreviewed` are a model's captions that
    nobody has looked at."""

    changed: dict[str, tuple[str, str]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    unreviewed: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        changed = {name: {"before": before, "after": after} for name, (before, after) in self.changed.items()}
        return {"changed": changed, "skipped": self.skipped, "unreviewed": self.unreviewed}


def captions_of(folder: str | Path) -> list[Caption]:
    """Every image of a folder (not of a holdout in it) with its caption, once for each caption file."""
    root = resolve_folder(folder)
    listing = list_folder(root)
    images, _ = pictures_and_masks(listing)
    pairing = Pairing(listing, images, read_metadata(listing))
    found: dict[Path, Caption] = {}
    for image in images:
        said = pairing.caption(image)
        file = said.file or image.with_suffix(".txt")
        own = said.text if said.source != "the folder's name" else ""
        found.setdefault(file, Caption(image, own, file, said.readable))
    return list(found.values())


def describe_folder(
    folder: str | Path,
    captioner: Captioner,
    by: str,
    *,
    wanted: Wanted = ANY_STYLE,
    overwrite: bool = False,
    dry_run: bool = False,
    on_caption: Callable[[str, str], None] = lambda name, text: None,
) -> Done:
    """Have the captioner fill the empty captions, or with `overwrite` all; the trigger is put in front of each.

    What was written before a crash stays and can be undone. Raises `Error` for a folder that can't be written to.
    """

    def described(caption: Caption) -> str:
        if caption.text and not overwrite:
            return caption.text
        said = captioner.describe(open_image(caption.image), wanted)
        return with_trigger(said, wanted.trigger) if said else ""

    return _Writing(folder, by, described=True, dry_run=dry_run).write(described, overwrite, on_caption)


def edit_folder(folder: str | Path, edit: Edit, *, dry_run: bool = False) -> Done:
    """Change all captions at once; images without a caption are passed over."""
    return _Writing(folder, "edit", described=False, dry_run=dry_run).write(lambda caption: edit(caption.text))


def tag_frequencies(folder: str | Path) -> dict[str, int]:
    """What commas separate in the captions, the most frequent first."""
    return dict(Counter(tag for caption in captions_of(folder) for tag in tags_of(caption.text)).most_common())


def open_journal(folder: str | Path) -> Journal:
    """Raises `Error` for a sample, whose captions come with sdlora and are not to be changed."""
    if sample_facts(folder) is not None:
        raise Error(f"{folder} comes with sdlora, and its captions stay as they are: work on a copy of the folder")
    return Journal(resolve_folder(folder))


class _Writing:
    def __init__(self, folder: str | Path, by: str, *, described: bool, dry_run: bool) -> None:
        self._folder, self._root, self._journal = folder, resolve_folder(folder), open_journal(folder)
        self._by, self._described, self._dry_run = by, described, dry_run
        self._operation = self._journal.next_operation()

    def write(
        self,
        wanted: Callable[[Caption], str],
        overwrite: bool = False,
        on_caption: Callable[[str, str], None] = lambda name, text: None,
    ) -> Done:
        done = Done()
        for caption, text in self._wanted(wanted, overwrite, done):
            name = caption.file.relative_to(self._root).as_posix()
            if text == caption.text:
                continue
            if not self._dry_run:
                self._journal.write(self._operation, name, text, self._by, described=self._described)
            done.changed[name] = caption.text, text
            on_caption(name, text)
        done.unreviewed = self._journal.unreviewed()
        return done

    def _wanted(self, wanted: Callable[[Caption], str], overwrite: bool, done: Done) -> Iterator[tuple[Caption, str]]:
        for caption in captions_of(self._folder):
            name = caption.image.relative_to(self._root).as_posix()
            if not caption.readable and not overwrite:
                done.skipped[name] = f"{caption.file.name} is not UTF-8: save it again as UTF-8"
                continue
            try:
                text = wanted(caption)
            except Error as problem:
                done.skipped[name] = str(problem)
                continue
            if text or not self._described:
                yield caption, text
            else:
                done.skipped[name] = "the model said nothing"
