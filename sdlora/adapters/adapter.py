"""An adapter: updates by module path, learned tokens and metadata. No model attached, no file format in it."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor, uint8

from ..errors import printable
from .updates import Update


@dataclass(frozen=True)
class LoadReport:
    """What became of a file's keys: the format they were in, and all that was not taken as it stood.

    `unknown` are keys that nobody understands or whose module no family has. `left_out` says of modules why their
    numbers make no update (`{module path: reason}`). `warnings` are whole sentences.
    """

    format: str = ""
    unknown: tuple[str, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether everything in the file was understood and taken."""
        return not (self.unknown or self.left_out or self.warnings)

    @property
    def sentences(self) -> tuple[str, ...]:
        """All of it for a person to read; empty when the report is complete."""
        found = [f"{path} was left out: {why}" for path, why in self.left_out.items()]
        if self.unknown:
            found.append(f"{len(self.unknown)} keys are not understood, such as {printable(self.unknown[0], 100)}")
        return (*found, *self.warnings)


@dataclass
class Adapter:
    """A named set of updates, keyed by module path without `.weight` (`unet.down_blocks.0…attn1.to_q`).

    `family` is `sd1`, `sd2`, `sdxl`, or None where the file does not tell; `geometry` names the widths (`sd15`, `sd2`,
    `sdxl`, `mini`, `custom` for any others), None likewise. `tokens` maps a learned token to its vectors (n, width)
    for the first text encoder, `tokens_2` to those for SDXL's second. `metadata` is what the file's header said, all
    strings.
    """

    name: str
    updates: dict[str, Update]
    tokens: dict[str, Tensor] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    family: str | None = None
    report: LoadReport = field(default_factory=LoadReport)
    tokens_2: dict[str, Tensor] = field(default_factory=dict)
    geometry: str | None = None

    @cached_property
    def content_hash(self) -> str:
        """sha256 over every update's path, kind, alpha and numbers: the same whatever the file or adapter is called."""
        digest = hashlib.sha256()
        for path, update in sorted(self.updates.items()):
            digest.update(f"{path}:{type(update).__name__}:{getattr(update, 'alpha', None)}".encode())
            for part, tensor in sorted(update.tensors().items()):
                digest.update(f"{part}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
                digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(uint8).numpy().tobytes())
        return digest.hexdigest()

    @property
    def trigger(self) -> str | None:
        """The words that call the style up, where the metadata tells."""
        return self.metadata.get("modelspec.trigger_phrase")
