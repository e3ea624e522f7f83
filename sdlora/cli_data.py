"""The commands that look at a folder of images and work on its captions. Nothing heavy is imported before one runs."""

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from .cli_shared import AS_JSON, BASE, DEVICE, FILE, finish, print_json, speak_softly
from .errors import printable


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
    report = examine(folder, **settings, on_image=_counting())
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


@click.command()
@click.argument("folder", metavar="DIR")
@click.option("--model", help="Who describes: blip, florence-2, smolvlm, wd14 (tags), a model's folder or a hub id.")
@click.option(
    "--subject",
    type=click.Choice(["style", "character", "everything"]),
    default="style",
    show_default=True,
    help="What the trigger word stands for, so that captions leave it out.",
)
@click.option("--trigger", help="Put in front of what the model writes.")
@click.option("--prompt", help="What a model that takes instructions is asked, instead of our own words.")
@click.option("--threshold", type=click.FloatRange(0, 1), default=0.35, show_default=True, help="Of a tagger.")
@click.option("--overwrite", is_flag=True, help="Describe images that have a caption too.")
@click.option("--replace", multiple=True, metavar="OLD=NEW", help="In all captions; may be given repeatedly.")
@click.option("--remove-trigger", default="", help="Take these words out of all captions.")
@click.option("--prefix", default="", help="In front of all captions, as it is, spaces too.")
@click.option("--suffix", default="", help="After all captions, as it is.")
@click.option("--add-trigger", default="", help="In front of captions that lack these words.")
@click.option("--tags", is_flag=True, help="Count what commas separate.")
@click.option("--reviewed", is_flag=True, help="You have looked at what a model wrote.")
@click.option(
    "--undo",
    is_flag=False,
    flag_value="last",
    type=click.Choice(["last", "all"]),
    help="Take back the last command that changed captions, or all: bytes as they were.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be written, write nothing.")
@DEVICE
@AS_JSON
def caption(folder: str, as_json: bool, **options: Any) -> None:
    """Write captions with a local model, change all at once, count tags; and take any of it back.

    DIR is a folder of images; captions are .txt files beside them. A model fills only what is empty. Without any option
    the command says how many captions there are and which of a model's nobody has reviewed. Ends with exit code 3 where
    an image was skipped, or an undo left a file alone because it was changed by hand since.
    """
    speak_softly()
    from .captioning.command import Asked, carry_out

    said = carry_out(folder, Asked(**options), lambda line: click.echo(printable(line, 2000), err=True))
    if as_json:
        print_json(said.document)
    else:
        for line in said.lines:
            click.echo(printable(line, 2000))
    finish(said.warnings)


def _counting() -> Callable[[], None]:
    """Counts images on stderr, where somebody watches."""
    seen = itertools.count(1)
    watched = sys.stderr.isatty()
    return lambda: click.echo(f"\r{next(seen)} images looked at", nl=False, err=True) if watched else None


COMMANDS = (caption, doctor)
