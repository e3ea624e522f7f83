"""The sharing kit of an adapter: a folder beside its file with all that a page about it needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..adapters.inspection import Inspection, inspect
from ..errors import Error
from ..files import size_text, write_folder_atomically, write_text
from .samples import Drawing, Sample, copy_samples, draw_samples
from .texts import CIVITAI_BASES, HUB_BASES, Facts, civitai_text, hugging_face_card
from .thumbnail import embed_thumbnail

README, CIVITAI, IMAGES = "README.md", "civitai.txt", "images"


@dataclass(frozen=True)
class Kit:
    """What was written; `thumbnail` says whether a picture was put into the adapter file itself.

    `hints` say what the pages lack, `warnings` what is wrong with the file that is about to be shared.
    """

    adapter: Path
    folder: Path
    samples: tuple[Path, ...]
    thumbnail: bool
    hints: tuple[str, ...]
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """What was written as plain data, for `--json`."""
        return vars(self) | {"files": sorted(file for file in self.folder.rglob("*") if file.is_file())}


def kit_folder(adapter: Path) -> Path:
    """Where an adapter's kit usually is: a folder of its own, for a folder of adapters has but one README.md."""
    return adapter.with_name(f"{adapter.stem}-card")


def make_kit(
    adapter: Path,
    folder: Path | None = None,
    *,
    samples: Sequence[Path] = (),
    draw: Drawing | None = None,
    weight: float = 1.0,
    license: str | None = None,
    base_model: str | None = None,
    force: bool = False,
) -> Kit:
    """Write card, Civitai's text and samples to `folder`, and put the first sample into the adapter's header.

    The adapter's tensors and their hash stay as they are; a thumbnail that it has already stays too, unless `force`.
    Raises `Error` when there is a kit already and `force` is not given, and for what is no adapter or no picture.
    """
    if not adapter.is_file():
        raise Error(f"{adapter} is a folder: make one file of it first, with  sdlora convert")
    folder = folder or kit_folder(adapter)
    if folder.exists() and not force:
        raise Error(f"{folder} is there already: give another --out, or --force to write it anew")
    found = inspect(adapter)
    wants_thumbnail = bool(samples or draw) and (force or not found.thumbnail)

    def fill(new: Path) -> None:
        pictures = copy_samples(samples, new / IMAGES, adapter.stem)
        if draw:
            prompt = draw.prompt or found.adapter.trigger or found.adapter.name
            pictures += draw_samples(adapter, new / IMAGES, prompt, weight, draw, len(pictures) + 1)
        if wants_thumbnail:
            embed_thumbnail(adapter, pictures[0].path)
        # the thumbnail changed AutoV2, which is the hash of the whole file
        facts = _facts(inspect(adapter), pictures, weight, license, base_model)
        write_text(new / README, hugging_face_card(facts))
        write_text(new / CIVITAI, civitai_text(facts))

    write_folder_atomically(folder, fill)
    pictures = tuple(sorted((folder / IMAGES).glob("*")))
    hints = _hints(_facts(found, (), weight, license, base_model), bool(pictures))
    return Kit(adapter, folder, pictures, wants_thumbnail, hints, found.warnings)


def _facts(
    found: Inspection, samples: Sequence[Sample], weight: float, license: str | None, base_model: str | None
) -> Facts:
    told, adapter = found.facts, found.adapter
    base = (adapter.geometry or "", told.get("prediction", "").startswith("v"))
    return Facts(
        file=found.path,
        kind=max(found.kinds, key=lambda kind: found.kinds[kind], default="Embedding"),
        title=told.get("title", adapter.name),
        description=told.get("description", ""),
        trigger=adapter.trigger or ", ".join(found.tokens),
        weight=weight,
        license=license or told.get("license"),
        base_model=base_model or HUB_BASES.get(base),
        civitai_base=CIVITAI_BASES.get(base, "Other"),
        rank=f"{found.ranks.most_common:g}" if found.ranks else "",
        size=size_text(found.size),
        autov2=found.hashes.autov2 if found.hashes else "",
        samples=samples,
    )


def _hints(facts: Facts, pictures: bool) -> tuple[str, ...]:
    """What the pages lack."""
    hints = {
        "the kit has no pictures: give some with --sample or --draw": not pictures,
        "the file states no license: give one with --license": facts.license is None,
        "the hub's name of the base is not known: give it with --base-model": facts.base_model is None,
    }
    return tuple(hint for hint, missing in hints.items() if missing)
