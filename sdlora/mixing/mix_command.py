"""What `sdlora mix` does: shows a mix, saves it, writes it as one adapter."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..adapters.algebra import ErrorReport
from ..bases import load_base
from ..errors import Error
from .command import NOTHING, gathered
from .mix import Weights
from .mix_file import read_mix
from .mixer import Mixer
from .modes import Mode


@dataclass(frozen=True)
class MixWanted:
    """A mix as it was asked for, and what is to become of it: `out` a mix file, `export` an adapter of `rank`."""

    adapters: Sequence[str]
    mix_file: Path | None
    mode: Mode | None
    equalise: bool
    out: Path | None
    export: Path | None
    rank: int | None
    base: str
    workspace: Path


@dataclass(frozen=True)
class MixMade:
    """The mix that stands, and how exact its export is where there is one."""

    mixer: Mixer
    wanted: MixWanted
    report: ErrorReport | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "mode": self.mixer.mode,
            "adapters": [{"name": adapter.name, "weights": w.given()} for adapter, w in self.mixer.adapters],
            "saved": self.wanted.out,
            "exported": self.wanted.export,
            "relative_error": self.report.relative if self.report else None,
        }

    def table(self) -> str:
        """For people."""
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for column in ("adapter", "UNet", "text", "blocks", "time"):
            table.add_column(column, overflow="fold")
        for adapter, weights in self.mixer.adapters:
            table.add_row(Text(adapter.name), f"{weights.unet:g}", f"{weights.text:g}", *_more(weights))
        page = StringIO()
        console = Console(file=page, width=110)
        console.print(table)
        lines = [page.getvalue().rstrip(), f"mode: {self.mixer.mode}"]
        lines += [f"saved: {self.wanted.out}"] if self.wanted.out else []
        if self.report:
            lines.append(f"exported: {self.wanted.export}, relative error {self.report.relative:.1e} before rounding")
        return "\n".join(lines)


def make_mix(wanted: MixWanted) -> MixMade:
    """Look the mix up on its base, and write what is asked for. Raises `Error` for what a user can mend."""
    library = wanted.workspace / "adapters"
    start = read_mix(wanted.mix_file, library) if wanted.mix_file else NOTHING
    mix = gathered(start, wanted.adapters, library, wanted.mode, equalise=wanted.equalise)
    if not mix.adapters:
        raise Error("the mix is empty: name adapters (ink:0.8 clay:0.5), or give a mix file with --mix")
    mixer = Mixer(load_base(wanted.base), library)
    mixer.set(mix.adapters, mix.mode, equalise=mix.equalise)
    if wanted.out:
        mixer.save(wanted.out)
    report = mixer.export(wanted.export, wanted.rank) if wanted.export else None
    return MixMade(mixer, wanted, report)


def _more(weights: Weights) -> tuple[str, str]:
    blocks = ", ".join(f"{prefix} {factor:g}" for prefix, factor in weights.blocks.items())
    time = ", ".join(f"{key} {value}" for key, value in weights.span.given().items())
    return blocks if weights.enabled else "off", time
