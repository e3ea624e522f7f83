"""The commands that look at a folder of images and work on its captions. Nothing heavy is imported before one runs."""

from pathlib import Path
from typing import Any

import click

from .cli_shared import AS_JSON, BASE, FILE, finish, print_json, speak_softly


@click.command()
@click.argument("folder", metavar="DIR")
@click.option("--holdout", help="Folder of held-out images; unset: `holdout` in or beside the folder.")
@BASE
@click.option("--trigger", help="Is it in each caption? For sample:NAME its own, where none is given.")
@click.option("--resolution", type=click.IntRange(min=8), help="Side in pixels; unset: what the base was trained at.")
@click.option("--batch-size", type=click.IntRange(min=1), default=1, show_default=True, help="For the arithmetic.")
@click.option("--steps", type=click.IntRange(min=1), help="For the arithmetic.")
@click.option("--sheet", type=FILE, metavar="FILE.png", help="Write a contact sheet with every image's crop.")
@click.option("--fix", type=FILE, metavar="OUT_DIR", help="Write a cleaned copy; the folder itself is never changed.")
@AS_JSON
def doctor(folder: str, sheet: Path | None, fix: Path | None, as_json: bool, **settings: Any) -> None:
    """Look at every file of a dataset: what became of it, why, and what to do.

    DIR is a folder of images or sample:NAME. Ends with exit code 3 where there are errors or warnings.
    """
    speak_softly()
    from .data.doctor import clean, examine, write_sheet
    from .data.doctor.printed import counted, show_report
    from .data.sample import sample_facts

    facts = sample_facts(folder)
    settings["trigger"] = settings["trigger"] or (facts.trigger if facts else None)
    report = examine(folder, **settings)
    sheets = write_sheet(report.frames, sheet) if sheet else []
    cleaned = clean(report, fix) if fix else None
    if as_json:
        print_json(report.as_dict() | {"sheets": sheets, "fixed": vars(cleaned) if cleaned else None})
    else:
        show_report(report)
        for line in (*sheets, *(cleaned.sentences if cleaned else ())):
            click.echo(line)
    if report.counts["error"] or report.counts["warning"]:
        finish([counted(report)])


COMMANDS = (doctor,)
