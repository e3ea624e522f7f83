"""The report as people read it in a terminal."""

from collections import defaultdict
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...errors import printable
from .examination import Report
from .findings import Finding

STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}
MOST_PLACES = 8
MOST_TAGS = 12


def show_report(report: Report, console: Console | None = None) -> None:
    """Findings by severity, then what training will see: buckets, captions, arithmetic."""
    console = console or Console()
    for (severity, sentence), places in _grouped(report.findings).items():
        line = Text(f"{severity:8}", STYLES[severity])
        names = ", ".join(places[:MOST_PLACES])
        more = f" and {len(places) - MOST_PLACES} more (--json has all)" if len(places) > MOST_PLACES else ""
        console.print(line + Text(printable(f"{names}{more}: {sentence}" if names else sentence), "default"))
    if report.findings:
        console.print()
    console.print(_facts(report))


def counted(report: Report) -> str:
    """`1 error, 2 warnings, 0 notes`."""
    return ", ".join(f"{count} {severity}{'' if count == 1 else 's'}" for severity, count in report.counts.items())


def _grouped(findings: Sequence[Finding]) -> dict[tuple[str, str], list[str]]:
    """(severity, sentence) -> places, in the order of the findings."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for finding in findings:
        found[finding.severity, finding.sentence] += [finding.place] if finding.place else []
    return found


def _facts(report: Report) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    captions = report.captions
    held = f", {len(report.holdout.pictures)} held out" if report.holdout else ""
    rows = {
        "folder": str(report.study.root),
        "found": counted(report),
        "images": f"{len(report.frames)} to train on{held}, of {len(report.files)} files",
        "buckets": ", ".join(f"{bucket} ({count})" for bucket, count in report.buckets.items()),
        "crops lose": _losses(report),
        "captions": f"{captions.captioned} of {captions.images}, {captions.with_trigger} with the trigger word",
        "tokens": f"{captions.tokens_least} to {captions.tokens_most}, {captions.tokens_median:g} in the middle; the "
        f"context holds {captions.room}, {captions.over_context} captions are longer",
        "tags": ", ".join(f"{tag} ({count})" for tag, count in list(captions.tags.items())[:MOST_TAGS]),
        "arithmetic": " ".join(report.arithmetic),
    }
    for title, value in rows.items():
        if value:
            table.add_row(title, Text(printable(value)))
    return table


def _losses(report: Report) -> str:
    if not report.frames:
        return ""
    losses = sorted(frame.lost for frame in report.frames)
    return f"{losses[len(losses) // 2]:.0%} of an image in the middle, {losses[-1]:.0%} at the most"
