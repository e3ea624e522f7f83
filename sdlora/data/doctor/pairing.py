"""Which caption and which mask belong to which image, as training pairs them, and what could be meant otherwise."""

import difflib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..captions import SUFFIXES as CAPTIONS
from ..captions import KohyaFolder, caption_files, kohya_folder, normal
from ..folder import SUFFIXES as IMAGES
from ..masks import ENDING
from .findings import Finding
from .listing import Listing
from .metadata import Metadata, Row
from .texts import Decoded, decode, tidy


@dataclass(frozen=True)
class Said:
    """An image's caption without the trigger, "" for none, and where it is from (`source`, in words). `readable` is
    False where training skips the image for it."""

    text: str
    source: str
    file: Path | None = None
    readable: bool = True


class Pairing:
    """Asks each image's caption once, and notes what is odd about it."""

    def __init__(self, listing: Listing, images: Sequence[Path], metadata: Metadata) -> None:
        self._listing, self._metadata = listing, metadata
        self._beside = caption_files(listing.files)
        self._texts = {path: _text(path) for path in listing.with_suffix(CAPTIONS)}
        self._images = images
        self.findings: list[Finding] = []
        for path, decoded in self._texts.items():
            self._note_encoding(path, decoded)
        self._note_orphans()
        self._note_shared()

    def caption(self, image: Path) -> Said:
        """The caption file, else `metadata.jsonl`, else the name of kohya's folder."""
        file, row, kohya = self._beside.get(_key(image)), self._row(image), self.kohya(image)
        decoded = self._texts.get(file) if file else None
        if file and decoded is None:
            return Said("", "a caption file that can't be opened", file, readable=False)
        text = tidy(decoded.text) if decoded else ""
        self._note_differences(image, file, text, row)
        if file and decoded and not decoded.readable:
            return Said(text, f"{file.name} (not UTF-8)", file, readable=False)
        if file and decoded and not text:
            self._note("empty-caption", file, "It holds no text: write a caption or remove it.")
        if file and text:
            return Said(text, file.name, file)
        if row and row.text:
            return Said(row.text, row.place)
        return Said(kohya.name, "the folder's name") if kohya and kohya.name else Said("", "")

    def weight(self, image: Path) -> float:
        """How much the image's loss counts."""
        row = self._row(image)
        return row.weight if row else 1.0

    def kohya(self, image: Path) -> KohyaFolder | None:
        """The nearest folder above it that is named as kohya's are."""
        names = image.relative_to(self._listing.root).parts[:-1]
        return next((found for name in reversed(names) if (found := kohya_folder(name))), None)

    def _row(self, image: Path) -> Row | None:
        return self._metadata.rows.get(normal(self._listing.name(image)))

    def _note(self, kind: str, path: Path, sentence: str) -> None:
        self.findings.append(Finding(kind, self._listing.name(path), sentence))

    def _note_encoding(self, path: Path, decoded: Decoded | None) -> None:
        if decoded is None:
            self._note("caption-unreadable", path, "It can't be opened, so its image is left out.")
        elif not decoded.readable:
            self._note(
                "caption-not-utf8",
                path,
                f"It is in {decoded.encoding}, so its image is left out: save it as UTF-8 (--fix does).",
            )
        elif decoded.encoding != "UTF-8":
            self._note(
                "byte-order-mark", path, "It begins with a byte-order mark: no trouble here, but for other tools."
            )

    def _note_orphans(self) -> None:
        keys = {_key(image) for image in self._images}
        for path in self._texts:
            if _key(path) in keys:
                self._listing.fates[path] = "a caption"
                continue
            self._listing.fates[path] = "not used: captions nothing"
            meant = self._nearest(path)
            hint = f"is it meant for {meant}, then give it that name with .txt" if meant else "rename or remove it"
            self._note("orphan-caption", path, f"There is no image of this name, so it captions nothing: {hint}.")

    def _nearest(self, caption: Path) -> str:
        """The image in the same folder that a caption file was probably meant for."""
        stem = caption.stem
        names = {image.stem.casefold(): image.name for image in self._images if image.parent == caption.parent}
        bare = Path(stem).stem if Path(stem).suffix.lower() in IMAGES else stem  # fox.png.txt
        close = difflib.get_close_matches(bare.casefold(), names, n=1, cutoff=0.8)
        return names[close[0]] if close else ""

    def _note_shared(self) -> None:
        by_stem: dict[tuple[Path, str], list[Path]] = defaultdict(list)
        for image in self._images:
            by_stem[_key(image)].append(image)
        for key, images in by_stem.items():
            if len(images) > 1:
                names = ", ".join(image.name for image in images)
                shared = f"share {self._beside[key].name}" if key in self._beside else "would share a caption"
                self._note("shared-caption", images[0], f"{names} {shared}: give them different names.")

    def _note_differences(self, image: Path, file: Path | None, text: str, row: Row | None) -> None:
        others = [path for path in self._texts if path != file and _key(path) == _key(image)]
        for other in others:
            decoded = self._texts[other]
            self._listing.fates[other] = f"not used: {file.name if file else ''} counts"
            if file and decoded and tidy(decoded.text) != text:
                self._note(
                    "two-captions", image, f"{file.name} counts, and {other.name} says something else: remove one."
                )
        if file and text and row and row.text and row.text != text:
            self._note("two-captions", image, f"{file.name} counts, and {row.place} says something else: correct one.")


def pictures_and_masks(listing: Listing) -> tuple[list[Path], dict[Path, Path]]:
    """The images, and mask -> its image, as training tells them apart; what is odd about masks' names is noted."""
    paths = listing.with_suffix(tuple(IMAGES))
    by_stem = {(path.parent, path.stem): path for path in paths}
    images, masks = [], {}
    for path in paths:
        whose = by_stem.get((path.parent, path.stem.removesuffix(ENDING))) if path.stem.endswith(ENDING) else None
        if whose is None:
            images.append(path)
        elif path.suffix != ".png":
            sentence = "A mask has to be a .png: convert it, or it counts for nothing."
            listing.note("mask-not-png", path, "not used: a mask has to be .png", sentence)
        else:
            masks[path] = whose
    return images, masks


def _key(path: Path) -> tuple[Path, str]:
    return path.parent, normal(path.stem)


def _text(path: Path) -> Decoded | None:
    try:
        return decode(path.read_bytes())
    except OSError:
        return None
