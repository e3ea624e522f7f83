"""One folder, looked at file by file: what is trained on, and what became of everything else."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..captions import SUFFIXES as CAPTIONS
from ..images import open_image
from ..masks import ENDING, mask_beside
from .findings import Finding
from .image_faults import BLANK, broken, image_findings
from .listing import Listing, list_folder
from .looking import Fault, Look, look_at
from .metadata import read_metadata
from .names import name_findings
from .pairing import Pairing, Said, pictures_and_masks

FEW = 5


@dataclass(frozen=True)
class Picture:
    """An image that training uses, and with what."""

    name: str
    look: Look
    said: Said
    repeats: int
    weight: float
    mask: Path | None


@dataclass(frozen=True)
class Study:
    """What a folder holds. `fates` has every file and folder by its name and what became of it; `left_out` are sound
    images that training leaves out nevertheless."""

    root: Path
    pictures: tuple[Picture, ...]
    left_out: tuple[Picture, ...]
    fates: dict[str, str]
    findings: tuple[Finding, ...]


def study_folder(root: Path, on_image: Callable[[], None] = lambda: None) -> Study:
    """Look at all of `root`; no file in it can make this fail."""
    listing = list_folder(root)
    images, masks = pictures_and_masks(listing)
    metadata = read_metadata(listing)
    pairing = Pairing(listing, images, metadata)
    used: list[Picture] = []
    left_out: list[Picture] = []
    for path in images:
        look = look_at(path)
        on_image()
        if isinstance(look, Fault):
            listing.findings.append(broken(look, listing.name(path)))
            listing.fates[path] = f"left out: {look.reason}"
            pairing.caption(path)  # what is odd about it is noted nevertheless
            continue
        picture = _picture(listing, pairing, look)
        listing.fates[path] = _fate(picture)
        (used if picture.said.readable and picture.repeats else left_out).append(picture)
        listing.findings += image_findings(look, picture.name)
    for mask, image in masks.items():
        listing.fates[mask] = f"mask of {image.name}"
        listing.findings += _mask_findings(listing, mask, image)
    # a caption file is named as its image is: one finding is enough
    names = [listing.name(path) for path in listing.files if path.suffix.lower() not in CAPTIONS]
    listing.findings += [
        *metadata.findings,
        *pairing.findings,
        *name_findings(root, names, [listing.name(path) for path in images]),
        *_whole(images, used),
        *_colourless(used),
        *_captions(used),
    ]
    fates = {listing.name(path): fate for path, fate in sorted(listing.fates.items())}
    return Study(root, tuple(used), tuple(left_out), fates, tuple(listing.findings))


def _picture(listing: Listing, pairing: Pairing, look: Look) -> Picture:
    kohya = pairing.kohya(look.path)
    repeats = kohya.repeats if kohya else 1
    said, weight = pairing.caption(look.path), pairing.weight(look.path)
    return Picture(listing.name(look.path), look, said, repeats, weight, mask_beside(look.path))


def _fate(picture: Picture) -> str:
    if not picture.repeats:
        return "left out: its folder's name asks for 0 repeats"
    if not picture.said.readable:
        return f"left out: {picture.said.source}"
    times = f"used {picture.repeats} times an epoch" if picture.repeats > 1 else "used"
    return f"{times}, caption from {picture.said.source}" if picture.said.source else f"{times}, without a caption"


def _mask_findings(listing: Listing, mask: Path, image: Path) -> Iterator[Finding]:
    name = listing.name(mask)
    try:
        grey, size = open_image(mask).convert("L"), open_image(image).size
    except Exception:  # the image's own trouble is told already; a mask's is told here
        if isinstance(fault := look_at(mask), Fault):
            yield Finding("mask-unreadable", name, f"The mask can't be read ({fault.reason}): replace or remove it.")
        return
    if grey.size != size:
        much = f"{grey.width} × {grey.height}, its image {size[0]} × {size[1]}"
        yield Finding("mask-size", name, f"The mask is {much}, which --masked refuses: make it as large.")
    if not grey.getbbox():
        yield Finding("mask-black", name, "The mask is all black, which --masked refuses: paint white what counts.")


def _whole(images: list[Path], used: list[Picture]) -> Iterator[Finding]:
    if not images:
        yield Finding("no-images", "", "There is no image in it: training needs png, jpg, jpeg, webp or bmp files.")
    elif not used:
        yield Finding("no-usable-image", "", f"None of its {len(images)} images can be used: see why at each of them.")
    elif len(used) < FEW:
        yield Finding("few-images", "", f"Only {len(used)} images can be used: a style takes 10 or more to be learnt.")


def _colourless(used: list[Picture]) -> Iterator[Finding]:
    """Grey images among coloured ones, and what is named as a mask and looks like one."""
    grey = [picture for picture in used if picture.look.grey]
    for picture in grey:
        if picture.look.path.stem.endswith(ENDING):
            sentence = "It is named as a mask but has no image, so it is trained on as one itself: remove it."
            yield Finding("mask-without-image", picture.name, sentence)
        elif len(grey) <= len(used) / 2 and picture.look.plain < BLANK:
            sentence = "It has no colour, and most others have: it teaches that this is one of the ways to look."
            yield Finding("greyscale", picture.name, sentence)


def _captions(used: list[Picture]) -> Iterator[Finding]:
    for picture in used:
        if not picture.said.source:
            yield Finding("no-caption", picture.name, "It has no caption: write one, or let `sdlora caption` do it.")
    texts = Counter(picture.said.text for picture in used if picture.said.file)
    for text, count in texts.items():
        if text and count > max(2, len(used) // 10):
            first = next(picture.name for picture in used if picture.said.text == text)
            yield Finding(
                "same-caption", first, f"{count} images have the caption “{text[:60]}”: say what is in each of them."
            )
