"""All there is to tell of one adapter file."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from .adapter import Adapter
from .algebra import Strengths, block_of, strength
from .algebra.deltas import Weights
from .formats import load_adapter
from .formats.container import data_hash, file_hash
from .formats.header import read_header
from .library import SUFFIX
from .told import has_thumbnail, tag_counts, training_facts
from .updates import Update


@dataclass(frozen=True)
class Spread:
    """Numbers that modules have: the least, the greatest, the most common."""

    least: float
    greatest: float
    most_common: float

    @classmethod
    def of(cls, numbers: Iterable[float | None]) -> "Spread | None":
        """The spread of those that are no None; None when there are none."""
        counts = Counter(number for number in numbers if number is not None)
        return cls(min(counts), max(counts), counts.most_common(1)[0][0]) if counts else None

    def __str__(self) -> str:
        if self.least == self.greatest:
            return f"{self.least:g}"
        return f"{self.least:g} to {self.greatest:g}, mostly {self.most_common:g}"


@dataclass(frozen=True)
class Hashes:
    """`sha256` of the whole file; `tensors` of the bytes behind the header; what the header states of those, or None.

    AutoV2 (Civitai) is the beginning of the first, A1111's short hash that of the second.
    """

    sha256: str
    tensors: str
    stated: str | None

    @classmethod
    def of(cls, file: Path) -> "Hashes":
        """Those of a file, which is read through."""
        return cls(file_hash(file), data_hash(file), read_header(file).metadata.get("sshs_model_hash"))

    @property
    def autov2(self) -> str:
        return self.sha256[:10]

    @property
    def short(self) -> str:
        return self.tensors[:12]

    @property
    def stated_is_right(self) -> bool | None:
        """None where the header states no hash."""
        return None if self.stated is None else self.stated.lower() == self.tensors

    def as_json(self) -> dict[str, Any]:
        """All of them as plain data."""
        return asdict(self) | {
            "autov2": self.autov2,
            "short": self.short,
            "stated_is_right": self.stated_is_right,
        }


@dataclass(frozen=True)
class Inspection:
    """One file, looked through: `size` in bytes, `blocks` counts modules, `tokens` and `tags` say how many of each.

    `path` may be PEFT's or diffusers' folder; then `hashes` are those of the one file in it, None if there are several.
    `strength` is None, and `strength_missing` says why, where it depends on a base that was not given.
    """

    path: Path
    size: int
    adapter: Adapter
    kinds: dict[str, int]
    ranks: Spread | None
    alphas: Spread | None
    dtypes: dict[str, int]
    blocks: dict[str, int]
    tokens: dict[str, int]
    tags: dict[str, int]
    facts: dict[str, str]
    thumbnail: bool
    hashes: Hashes | None
    strength: Strengths | None
    strength_missing: str

    @property
    def kinds_told(self) -> str:
        """`LoRA` where all are of one kind, else `LoRA (12), LoHa (3)`."""
        return _told(self.kinds)

    @property
    def dtypes_told(self) -> str:
        """`fp16`, or which of several how often."""
        return _told(self.dtypes)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What its user should know, as sentences: keys not understood, modules left out, a wrong hash."""
        wrong = "the hash in its header is not that of its tensors, so A1111 and Forge know it by a wrong one"
        wrongly_stated = self.hashes and self.hashes.stated_is_right is False
        return (*self.adapter.report.sentences, *([wrong] if wrongly_stated else []))

    def as_json(self) -> dict[str, Any]:
        """All of it as plain data, for `--json`."""
        adapter = self.adapter
        return {
            "path": str(self.path),
            "name": adapter.name,
            "size": self.size,
            "format": adapter.report.format,
            "kinds": self.kinds,
            "family": adapter.family,
            "geometry": adapter.geometry,
            "ranks": self.ranks and asdict(self.ranks),
            "alphas": self.alphas and asdict(self.alphas),
            "dtypes": self.dtypes,
            "modules": len(adapter.updates),
            "blocks": self.blocks,
            "tokens": self.tokens,
            "trigger": adapter.trigger,
            "tags": self.tags,
            "training": self.facts,
            "thumbnail": self.thumbnail,
            "hashes": self.hashes and self.hashes.as_json(),
            "strength": self.strength and self.strength.as_json(),
            "strength_missing": self.strength_missing,
            "unknown": list(adapter.report.unknown),
            "left_out": adapter.report.left_out,
            "warnings": list(self.warnings),
        }


def inspect(path: Path, base: Weights | None = None) -> Inspection:
    """Look through a file or PEFT's folder.

    `base`, a mapping from module paths to weights, is needed for the strength of some kinds alone.
    Raises `Error` for what `load_adapter` refuses, and for a base that the adapter was not made for.
    """
    adapter = load_adapter(path)
    files = sorted(path.rglob(f"*{SUFFIX}")) if path.is_dir() else [path]
    stated = read_header(files[0]).metadata if len(files) == 1 else {}
    updates = adapter.updates.values()
    needy = sorted({update.kind for update in updates if update.needs_weight or update.shape is None})
    missing = "" if base is not None or not needy else f"{', '.join(needy)}: it depends on the base, give --base"
    if not all(update.mergeable for update in updates):
        missing = "it changes what follows a weight, not the weight"
    return Inspection(
        path=path,
        size=sum(file.stat().st_size for file in files),
        adapter=adapter,
        kinds=_counted(update.kind for update in updates),
        ranks=Spread.of(update.rank for update in updates),
        alphas=Spread.of(update.alpha for update in updates),
        dtypes=_counted(_dtype(update) for update in updates),
        blocks=_counted(map(block_of, sorted(adapter.updates))),
        tokens={token: len(vectors) for token, vectors in (adapter.tokens_2 | adapter.tokens).items()},
        tags=tag_counts(stated),
        facts=training_facts(stated),
        thumbnail=has_thumbnail(stated),
        hashes=Hashes.of(files[0]) if len(files) == 1 else None,
        strength=None if missing or not adapter.updates else strength(adapter, base),
        strength_missing=missing,
    )


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names))


def _dtype(update: Update) -> str:
    """The precision of a module's largest part."""
    largest = max(update.tensors().values(), key=Tensor.numel)
    return str(largest.dtype).removeprefix("torch.")


def _told(counts: Mapping[str, int]) -> str:
    return next(iter(counts)) if len(counts) == 1 else ", ".join(f"{name} ({n})" for name, n in counts.items())
