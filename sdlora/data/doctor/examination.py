"""The whole examination of a dataset: its folder, what is held out, and both together."""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..sample import holdout_beside, resolve_folder
from ..split import FEWEST_TO_SPLIT
from .arithmetic import arithmetic
from .base_facts import base_facts
from .caption_statistics import CaptionStatistics, caption_findings, count_captions
from .duplicates import duplicate_findings, leak_findings
from .findings import ORDER, Finding, by_severity
from .framing import Framed, framed, framing_findings, usual_buckets
from .study import Study, study_folder

NOT_OF_HELD = {"few-images", "greyscale", "same-caption"}  # what matters only where one learns from it


@dataclass(frozen=True)
class Report:
    """What the doctor says. `frames` are the images that are trained on, each in its bucket."""

    study: Study
    holdout: Study | None
    findings: tuple[Finding, ...]
    frames: tuple[Framed, ...]
    captions: CaptionStatistics
    arithmetic: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Severity -> findings of it."""
        found = Counter(finding.severity for finding in self.findings)
        return {severity: found[severity] for severity in ORDER}

    @property
    def files(self) -> dict[str, str]:
        """Every file by its name, and what became of it."""
        held = self.holdout
        if held is None:
            return self.study.fates
        prefix = _prefix(self.study.root, held.root)
        return self.study.fates | {f"{prefix}{name}": fate for name, fate in held.fates.items()}

    @property
    def buckets(self) -> dict[str, int]:
        """Bucket, such as `512x512`, -> images in it."""
        return dict(Counter(f"{frame.bucket[0]}x{frame.bucket[1]}" for frame in self.frames).most_common())

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "folder": str(self.study.root),
            "holdout": str(self.holdout.root) if self.holdout else None,
            "counts": self.counts,
            "findings": [finding.as_dict() for finding in self.findings],
            "files": self.files,
            "images": [_image(frame) for frame in self.frames],
            "held_out": [picture.name for picture in self.holdout.pictures] if self.holdout else [],
            "buckets": self.buckets,
            "captions": self.captions.as_dict(),
            "arithmetic": list(self.arithmetic),
        }


def examine(
    folder: str | Path,
    *,
    holdout: str | Path | None = None,
    base: str = "mini",
    trigger: str | None = None,
    resolution: int | None = None,
    batch_size: int = 1,
    steps: int | None = None,
    on_image: Callable[[], None] = lambda: None,
) -> Report:
    """Look at every file of `folder` (a path or `sample:NAME`) and of its holdout, as a training on `base` would.

    Nothing is changed, and no file can make it fail. Raises `Error` only for a folder or a base that is not there.
    """
    root, facts = resolve_folder(folder), base_facts(base)
    trigger = (trigger or "").strip() or None
    held_root = resolve_folder(holdout) if holdout else holdout_beside(root)
    study = study_folder(root, on_image)
    held = study_folder(held_root, on_image) if held_root else None
    buckets = usual_buckets(facts, resolution)
    frames = tuple(framed(picture, buckets) for picture in study.pictures)
    findings = [
        *study.findings,
        *duplicate_findings(study.pictures),
        *framing_findings(frames),
        *caption_findings(study.pictures, facts, trigger),
        *(_held_findings(study, held) if held else _none_held(study)),
    ]
    return Report(
        study,
        held,
        by_severity(findings),
        frames,
        count_captions(study.pictures, facts, trigger),
        tuple(arithmetic(study.pictures, batch_size, steps)),
    )


def _held_findings(study: Study, held: Study) -> list[Finding]:
    prefix = _prefix(study.root, held.root)
    own = [one for one in held.findings if one.kind not in NOT_OF_HELD]
    return [*(replace(one, place=f"{prefix}{one.place}") for one in own), *leak_findings(study.pictures, held.pictures)]


def _none_held(study: Study) -> list[Finding]:
    different = len({picture.look.bytes_hash for picture in study.pictures})
    if different < FEWEST_TO_SPLIT:
        sentence = (
            f"No image is held out, for {different} are too few to put some aside (that takes {FEWEST_TO_SPLIT}), so "
            "over-training will not be noticed: give more, or a folder `holdout`."
        )
    else:
        sentence = "There is no folder `holdout`: training puts a tenth of the images aside by itself."
    return [Finding("no-holdout", "", sentence)] if study.pictures else []


def _prefix(root: Path, held: Path) -> str:
    """How the names of held-out files begin, seen from the folder."""
    try:
        return f"{Path(os.path.relpath(held, root)).as_posix()}/"
    except ValueError:  # another drive of Windows
        return f"{held.as_posix()}/"


def _image(frame: Framed) -> dict[str, Any]:
    picture = frame.picture
    return {
        "file": picture.name,
        "width": picture.look.size[0],
        "height": picture.look.size[1],
        "bucket": list(frame.bucket),
        "lost": round(frame.lost, 4),
        "enlarged": round(frame.view.upscaled, 3),
        "caption": picture.said.text,
        "caption_from": picture.said.source,
        "repeats": picture.repeats,
        "weight": picture.weight,
        "mask": picture.mask.name if picture.mask else None,
    }
