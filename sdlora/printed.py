"""What the commands on files print for people: rich tables. What files say is printed as text, never as markup."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .adapters.listing import Listed
from .errors import printable
from .files import size_text

if TYPE_CHECKING:  # lists must not wait for torch
    from .adapters.algebra import Comparison, ErrorReport
    from .adapters.inspection import Hashes, Inspection

MOST_TAGS = 12
MOST_KEYS = 20
EXACT = 1e-6  # relative errors below are those of fp32 itself


def show_list(files: Mapping[Path, Listed], folder: Path, console: Console | None = None) -> None:
    """A row a file; why a file is no adapter is said in its row."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("adapter", "family", "size", "trigger words", "picture", "hash"):
        table.add_column(column, overflow="fold", justify="right" if column == "size" else "left")
    for path, file in files.items():
        summary = file.summary
        name = _text(str(path.relative_to(folder.absolute()).with_suffix("")))
        if summary.problem:
            table.add_row(name, "", size_text(file.size), _text(summary.problem, style="yellow"))
            continue
        words = _text(summary.trigger) if summary.trigger else _text(summary.tags, style="dim")
        picture = "yes" if summary.thumbnail else ""
        table.add_row(name, summary.family or "?", size_text(file.size), words, picture, _hash_text(file))
    console = console or Console()
    console.print(table if files else _text(f"no adapter files in {folder}"))


def _hash_text(file: Listed) -> Text:
    if file.hash_is_right is False:
        return _text(f"{file.tensor_hash[:12]}, the header says {file.summary.stated_hash[:12]}", style="yellow")
    if file.tensor_hash:
        return _text(file.tensor_hash[:12])
    return _text(f"{file.summary.stated_hash[:12]} unverified" if file.summary.stated_hash else "", style="dim")


def show_inspection(found: "Inspection", console: Console | None = None) -> None:
    """Facts, modules by block with their strengths, training, and what was not understood."""
    console = console or Console()
    adapter = found.adapter
    rows = {
        "file": str(found.path),
        "format": f"{adapter.report.format}, {found.dtypes_told}, {size_text(found.size)}",
        "kind": found.kinds_told,
        "family": f"{adapter.family or 'not told'}, geometry {adapter.geometry or 'not told'}",
        "rank": str(found.ranks or ""),
        "alpha": str(found.alphas or ""),
        "tokens": ", ".join(f"{token} ({n})" for token, n in found.tokens.items()),
        "trigger words": adapter.trigger or "",
        "tags": ", ".join(f"{tag} ({n})" for tag, n in list(found.tags.items())[:MOST_TAGS]),
        "thumbnail": "in the header" if found.thumbnail else "",
        **(_hashes(found.hashes) if found.hashes else {}),
        "strength": _strength(found),
    }
    console.print(_facts(rows | found.facts))
    console.print()
    console.print(_blocks(found))
    unknown = adapter.report.unknown
    if unknown:
        console.print("\nkeys that are not understood:", style="bold")
        for key in unknown[:MOST_KEYS]:
            console.print(_text(key))
        if len(unknown) > MOST_KEYS:
            console.print(f"and {len(unknown) - MOST_KEYS} more (--json has all)")


def show_errors(report: "ErrorReport", rounding: float, dtype: str, console: Console | None = None) -> None:
    """The relative error of each module that has one, of all together, and of the file's own rounding."""
    console = console or Console()
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("module", overflow="fold")
    table.add_column("rank", justify="right")
    table.add_column("relative error", justify="right")
    for path, module in report.modules.items():
        if module.relative > EXACT:
            table.add_row(_text(path), "" if module.rank is None else str(module.rank), f"{module.relative:.2e}")
    if table.row_count:
        console.print(table)
    console.print(f"relative error {report.relative:.2e} in all, and {rounding:.2e} by rounding to {dtype}")


def show_comparison(comparison: "Comparison", console: Console | None = None) -> None:
    """Norms of both adapters and their cosine in each block and in all."""
    console = console or Console()
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("block", f"‖ΔW‖ {comparison.a}", f"‖ΔW‖ {comparison.b}", "cosine"):
        table.add_column(_text(column), justify="left" if column == "block" else "right")
    for block, likeness in {**comparison.blocks, "all": comparison.total}.items():
        table.add_row(block, f"{likeness.norm_a:.4g}", f"{likeness.norm_b:.4g}", f"{likeness.cosine:.4f}")
    console.print(table)
    for name, paths in ((comparison.a, comparison.only_a), (comparison.b, comparison.only_b)):
        if paths:
            console.print(_text(f"{len(paths)} modules only in {name}"))


def _hashes(hashes: "Hashes") -> dict[str, str]:
    stated = {None: "the header states none", True: "as the header says", False: f"the header says {hashes.stated}"}
    return {
        "AutoV2": hashes.autov2,
        "A1111's hash": f"{hashes.short} ({stated[hashes.stated_is_right]})",
        "tensors' sha256": hashes.tensors,
        "file's sha256": hashes.sha256,
    }


def _facts(rows: Mapping[str, str]) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for title, value in rows.items():
        if value:
            table.add_row(title, _text(value))
    return table


def _blocks(found: "Inspection") -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("block")
    table.add_column("modules", justify="right")
    table.add_column("‖ΔW‖", justify="right")
    strengths = found.strength.blocks if found.strength else {}
    for block, count in found.blocks.items():
        table.add_row(block, str(count), f"{strengths[block].delta:.4g}" if block in strengths else "")
    return table


def _text(text: str, style: str = "") -> Text:
    """What a file says, as it says it: no markup of rich's, nothing that steers a terminal."""
    return Text(printable(text), style)


def _strength(found: "Inspection") -> str:
    if found.strength is None:
        return found.strength_missing
    total = found.strength.total
    part = "" if total.ratio is None else f", {total.ratio:.3%} of the base's weights"
    return f"‖ΔW‖ {total.delta:.4g}{part}"
