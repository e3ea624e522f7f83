"""What the doctor can find, and how bad each of it is."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]
ORDER: tuple[Severity, ...] = ("error", "warning", "note")

# error: training refuses the folder or leaves the file out; warning: it is read otherwise than meant; note: to know
_KINDS: dict[Severity, tuple[str, ...]] = {
    "error": (
        *("no-images", "no-usable-image", "kohya-leaf", "unreadable-folder"),
        *("empty-file", "no-picture", "truncated", "too-large", "unreadable", "broken-link", "not-a-file"),
        *("caption-not-utf8", "caption-unreadable"),
        *("metadata-not-utf8", "metadata-not-json", "metadata-no-file-name", "metadata-bad-weight"),
        *("mask-size", "mask-black", "mask-unreadable", "leak"),
    ),
    "warning": (
        *("few-images", "format-not-read", "animated", "cmyk", "tiny", "upscaled", "extreme-shape", "much-lost"),
        *("blank", "transparent", "duplicate", "near-duplicate", "near-leak", "linked-folder"),
        *("no-caption", "empty-caption", "orphan-caption", "two-captions", "shared-caption", "prompt-syntax"),
        *("over-context", "metadata-missing-file", "metadata-twice", "metadata-other-format"),
        *("no-repeats", "many-repeats", "stray-holdout", "mask-without-image", "mask-not-png"),
        *("case-collision", "windows-name"),
    ),
    "note": (
        *("wrong-extension", "alpha", "rotated", "greyscale", "sixteen-bit", "colour-profile", "weight-zero"),
        *("byte-order-mark", "several-lines", "trigger-missing", "unlike-lengths", "same-caption"),
        *("non-ascii-name", "hidden", "not-used", "held-out", "no-holdout"),
    ),
}
SEVERITIES: dict[str, Severity] = {kind: severity for severity, kinds in _KINDS.items() for kind in kinds}


@dataclass(frozen=True)
class Finding:
    """`sentence` says what is so of `place` (a name below the folder; "" for all of it), and what to do."""

    kind: str
    place: str
    sentence: str

    @property
    def severity(self) -> Severity:
        """`error`, `warning` or `note`."""
        return SEVERITIES[self.kind]

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return {"severity": self.severity, "kind": self.kind, "file": self.place, "what": self.sentence}


def by_severity(findings: list[Finding]) -> tuple[Finding, ...]:
    """Errors first; then by kind and place."""
    return tuple(sorted(findings, key=lambda one: (ORDER.index(one.severity), one.kind, one.place)))
