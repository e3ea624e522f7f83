"""The command that compares: a labelled sheet of pictures. Nothing heavy is imported before it runs."""

from pathlib import Path
from typing import Any

import click

from .cli_shared import (
    AS_JSON,
    BASE,
    DEVICE,
    FILE,
    FORCE,
    PREDICTION,
    WORKSPACE,
    drawing,
    mixing,
    print_json,
    speak_softly,
    wanted,
)

AXIS = "KIND=VALUES"


@click.command()
@click.argument("prompt")
@click.option("--x", metavar=AXIS, help="What varies along a row.")
@click.option("--y", metavar=AXIS, help="What varies down a column.")
@click.option("--z", metavar=AXIS, help="What varies from sheet to sheet, all of which are in one picture.")
@mixing
@BASE
@drawing
@click.option("--out", type=FILE, help="A .png; unset: a new one in outputs/ of the workspace.")
@FORCE
@DEVICE
@PREDICTION
@WORKSPACE
@AS_JSON
def grid(
    x: str | None, y: str | None, z: str | None, out: Path | None, force: bool, as_json: bool, **given: Any
) -> None:
    """Draw PROMPT with all values of up to three axes, on one labelled sheet.

    \b
    weight:ink=0,0.5,1       weights of an adapter; a name is needed where there are several
    adapter=ink,oil:0.8,none adapters, each put into the mix of --adapter
    checkpoint:RUN=100,200   a training's checkpoints; checkpoint:RUN=all
    prompt='"a cat, ink",a dog'  whole prompts
    replace=fox,cat,dog      words of the prompt, and what to put in their place
    seed=1-4  sampler='Euler a,DDIM'  guidance=4-10[3]  steps=10-30(+10)

    Numbers are listed (0,0.5,1) or a range: 1-5 by ones, 1-9(+2) by steps, 0-1[5] five of them. The single pictures are
    put into a folder beside the sheet, each with its parameters.
    """
    speak_softly()
    from .drawing_progress import DrawingProgress
    from .grid import draw_grid_file

    asked = wanted(given)
    with DrawingProgress(visible=not as_json) as progress:
        drawn = draw_grid_file(
            asked, (x, y, z), out, progress, say=lambda sentence: click.echo(sentence, err=True), force=force
        )
    if as_json:
        print_json(drawn.as_dict())
    else:
        click.echo(drawn.path)


COMMANDS = (grid,)
