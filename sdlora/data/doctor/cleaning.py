"""A cleaned copy of a dataset. The folder itself is only read."""

import io
import json
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from PIL import Image, ImageCms, ImageOps

from ...errors import Error
from ...files import write_folder_atomically
from ..captions import METADATA, kohya_folder, normal
from ..folder import OTHER_SUFFIXES, SURPRISING_REPEATS
from ..images import FORMATS, open_alpha, open_image
from ..masks import ENDING
from ..sample import HOLDOUT
from .duplicates import copies
from .examination import Report
from .looking import ENDINGS, Look, look_at
from .names import is_forbidden
from .study import Picture, Study
from .texts import decode, tidy

_KEPT_AS_THEY_ARE = ("PNG", "JPEG", "WEBP", "BMP")


@dataclass
class Cleaned:
    """What was done: how many `images` are in the copy, which of them are `converted` and which have another name
    (from -> to), and which were `left_out`, with the reason."""

    folder: Path
    images: int = 0
    converted: dict[str, str] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def sentences(self) -> list[str]:
        """For people."""
        said = [f"{self.images} images in {self.folder}, {self.images - len(self.converted)} of them as they were."]
        said += [f"{source}: made an upright RGB image, {target}" for source, target in self.converted.items()]
        said += [f"{source}: named {target}" for source, target in self.renamed.items()]
        return said + [f"{name}: left out, {why}" for name, why in self.left_out.items()]


def clean(report: Report, out: Path) -> Cleaned:
    """Write a copy of the examined folder that has none of the faults that can be mended without a person.

    Images become upright 8-bit RGB, captions UTF-8 files beside them, weights a `metadata.jsonl`; copies of an image,
    also of a held-out one, and what can't be read stay out. Near duplicates stay in: only a person can tell.
    Raises `Error` where `out` is not empty, or inside of the folder or around it.
    """
    root = report.study.root.resolve()
    target = out.expanduser().resolve()
    if target.is_relative_to(root) or root.is_relative_to(target):
        raise Error(f"--fix {out} would write into the dataset itself: give a folder outside of {root}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Error(f"{out} is there already and not empty: give --fix another folder")
    done = Cleaned(out)

    def fill(folder: Path) -> None:
        held = {picture.look.pixels_hash for picture in report.holdout.pictures} if report.holdout else set()
        leaf = f"{root.name}/" if kohya_folder(root.name) else ""
        _Copy(report.study, folder, leaf, done).write(held)
        if report.holdout and report.holdout.root.resolve().is_relative_to(root):
            _Copy(report.holdout, folder / HOLDOUT, "", done).write(set())

    write_folder_atomically(target, fill)
    return done


class _Copy:
    """Writes one folder's images; remembers which names are taken."""

    def __init__(self, study: Study, target: Path, prefix: str, done: Cleaned) -> None:
        self._study, self._target, self._prefix, self._done = study, target, prefix, done
        self._taken: dict[str, set[str]] = defaultdict(set)
        self._weights: list[dict[str, object]] = []

    def write(self, held: set[str]) -> None:
        """All images but those whose pixels are `held` out."""
        mendable = [picture for picture in self._study.left_out if picture.repeats]
        pictures = [*self._study.pictures, *mendable]
        twice = {other.name: group.pictures[0].name for group in copies(pictures) for other in group.pictures[1:]}
        mended = {picture.name for picture in pictures}
        for name, fate in self._study.fates.items():
            if fate.startswith("left out") and name not in mended:
                self._leave_out(name, fate.removeprefix("left out").lstrip(":, ") or "it was left out before")
        for picture in pictures:
            if picture.look.pixels_hash in held:
                self._leave_out(picture.name, "it is held out as well")
            elif picture.name in twice:
                self._leave_out(picture.name, f"it is the same as {twice[picture.name]}")
            elif picture.look.path.stem.endswith(ENDING) and picture.look.grey:
                self._leave_out(picture.name, "it is named as a mask and has no image")
            else:
                from_folder = picture.said.source == "the folder's name"
                self._write(picture.name, picture.look, "" if from_folder else picture.said.text, picture)
        for name, look, text in self._other_formats():
            self._write(name, look, text, None)
        if self._weights:
            lines = [json.dumps(row, ensure_ascii=False) for row in self._weights]
            (self._target / METADATA).write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")

    def _other_formats(self) -> Iterator[tuple[str, Look, str]]:
        """GIF and TIFF files, which training does not read and Pillow does."""
        for finding in self._study.findings:
            if finding.kind != "format-not-read":
                continue
            path = self._study.root / finding.place
            look = look_at(path)
            if isinstance(look, Look):
                beside = path.with_suffix(".txt")
                yield finding.place, look, tidy(decode(beside.read_bytes()).text) if beside.is_file() else ""
            else:
                self._leave_out(finding.place, look.reason)

    def _leave_out(self, name: str, why: str) -> None:
        self._done.left_out[name] = why

    def _write(self, name: str, look: Look, text: str, picture: Picture | None) -> None:
        as_it_is = _is_plain(look)
        target = self._free(name, look.path.suffix.lower() if as_it_is else ".png")
        target.parent.mkdir(parents=True, exist_ok=True)
        if as_it_is:
            shutil.copyfile(look.path, target)
        else:
            _in_srgb(look).save(target)
        below = target.relative_to(self._target).as_posix()
        if not as_it_is:
            self._done.converted[name] = below
        elif below != self._prefix + name:
            self._done.renamed[name] = below
        if text:
            target.with_suffix(".txt").write_text(text + "\n", encoding="utf-8", newline="\n")
        if picture and picture.weight != 1:
            self._weights.append({"file_name": below, "weight": picture.weight})
        self._write_mask(look, picture, target)
        self._done.images += 1

    def _write_mask(self, look: Look, picture: Picture | None, target: Path) -> None:
        """The image's own mask where it is sound, else what its transparency says."""
        mask = _sound_mask(picture.mask, look) if picture and picture.mask else None
        if mask is None and look.header.clear and look.header.clear < 1:
            mask = open_alpha(look.path)
        if mask is not None:
            mask.save(target.with_name(f"{target.stem}{ENDING}.png"))

    def _free(self, name: str, suffix: str) -> Path:
        """A name that no other image has on any system, so that no two share a caption."""
        path = PurePosixPath(self._prefix + normal(name))
        folder = "/".join(_allowed(_without_date(part)) for part in path.parts[:-1])
        stem = free = _allowed(path.stem)
        number = 1
        while free.casefold() in self._taken[folder.casefold()]:
            number += 1
            free = f"{stem}-{number}"
        self._taken[folder.casefold()].add(free.casefold())
        return self._target / folder / f"{free}{suffix}"


def _is_plain(look: Look) -> bool:
    """Whether the file is already what training makes of it."""
    header = look.header
    return (
        header.format in _KEPT_AS_THEY_ARE
        and look.path.suffix.lower() in ENDINGS[header.format]
        and look.path.suffix.lower() not in OTHER_SUFFIXES
        and (header.mode, header.frames) == ("RGB", 1)
        and not (header.rotated or header.deep or header.profile or header.clear)
    )


def _in_srgb(look: Look) -> Image.Image:
    """The image as training reads it; one with a colour profile in sRGB, as its maker saw it."""
    image = open_image(look.path)
    if not look.header.profile or look.header.mode not in ("RGB", "CMYK"):
        return image
    with Image.open(look.path, formats=FORMATS) as stored:
        own, srgb = ImageCms.ImageCmsProfile(io.BytesIO(stored.info["icc_profile"])), ImageCms.createProfile("sRGB")
        upright = ImageOps.exif_transpose(stored)
        try:
            return ImageCms.profileToProfile(upright, own, srgb, outputMode="RGB") or image
        except ImageCms.PyCMSError:  # the profile is no good
            return image


def _sound_mask(path: Path, look: Look) -> Image.Image | None:
    try:
        mask = open_image(path).convert("L")
    except Error:
        return None
    return mask if mask.size == look.size and mask.getbbox() else None


def _without_date(part: str) -> str:
    kohya = kohya_folder(part)
    return kohya.name if kohya and kohya.repeats >= SURPRISING_REPEATS else part


def _allowed(part: str) -> str:
    """The name as Windows allows it."""
    if not is_forbidden(part):
        return part
    cleaned = "".join("_" if letter in '<>:"\\|?*' or ord(letter) < 32 else letter for letter in part).rstrip(" .")
    return f"_{cleaned}" if is_forbidden(cleaned) or not cleaned else cleaned
