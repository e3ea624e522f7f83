"""The dataset sheet of a run: written once when the run begins, for the images may be gone later."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...data.doctor import examine
from ...data.folder import Example
from ...data.images import open_image, upright_size
from ...data.views import centred
from ...errors import Error
from ...files import write_text
from ..config import ResolvedConfig
from ..lengths import arithmetic
from ..material import Material
from ..preparation import viewing_of
from ..run_folder import RunFolder
from .images import THUMBNAIL_SIDE, data_uri

MOST_EXAMINED = 100  # images that the doctor looks at before each training; `sdlora doctor` looks at all
MOST_SHOWN = 96  # images with a thumbnail, of those that are trained on and of those that are held out


def write_dataset(run: RunFolder, config: ResolvedConfig, material: Material) -> None:
    """Write `dataset.json`, if it is not there yet: counts, buckets, the doctor's findings, images with captions."""
    if run.dataset_file.is_file():
        return
    shown = [*_shown(config, material.train, False), *_shown(config, material.holdout, True)]
    write_text(
        run.dataset_file,
        json.dumps(
            {
                "trained": len(material.train),
                "held_out": len(material.holdout),
                "arithmetic": arithmetic(config, len(material.train), material.repeated, 1),
                "findings": _findings(config, material),
                "buckets": Counter(f"{one['bucket'][0]} × {one['bucket'][1]}" for one in shown if not one["held_out"]),
                "pictures": shown,
            },
            ensure_ascii=False,
        ),
    )


def read_dataset(run: RunFolder) -> dict[str, Any]:
    """What was written; empty where nothing was."""
    try:
        found = json.loads(run.dataset_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _findings(config: ResolvedConfig, material: Material) -> list[dict[str, str]]:
    """Errors and warnings of the doctor, and how many notes there are."""
    many = len(material.dataset.examples)
    if many > MOST_EXAMINED:
        what = f"{many} images are too many to examine before each training: `sdlora doctor` does"
        return [{"severity": "note", "kind": "not-examined", "file": "", "what": what}]
    try:
        found = examine(
            config.images,
            holdout=config.holdout,
            base=config.base,
            trigger=config.trigger,
            resolution=config.resolution,
            batch_size=config.batch_size * config.gradient_accumulation,
            steps=config.steps,
        ).findings
    except Error as problem:
        return [{"severity": "note", "kind": "not-examined", "file": "", "what": str(problem)}]
    return [finding.as_dict() for finding in found]


def _shown(config: ResolvedConfig, examples: Sequence[Example], held_out: bool) -> Iterator[dict[str, Any]]:
    buckets = viewing_of(config).buckets[0]
    for example in examples[:MOST_SHOWN]:
        size = upright_size(example.path)
        view = centred(*size, buckets.size_for(*size))
        yield {
            "file": _below(example.path, config),
            "caption": example.caption,
            "repeats": example.repeats,
            "held_out": held_out,
            "size": list(size),
            "bucket": list(view.size),
            "lost": round(view.lost(*size), 4),
            "thumbnail": data_uri(open_image(example.path, THUMBNAIL_SIDE), THUMBNAIL_SIDE),
        }


def _below(path: Path, config: ResolvedConfig) -> str:
    """The image's name, with the folder's that it lies in, but not where on this computer that is."""
    root = Path(config.images)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
