"""The commands that draw and mix: generate, mix, png-info."""

from pathlib import Path
from typing import Any

import click

from .cli_shared import (
    AS_JSON,
    DEVICE,
    FILE,
    FORCE,
    MODES,
    PREDICTION,
    WORKSPACE,
    drawing,
    mixing,
    print_json,
    refuse_to_overwrite,
    speak_softly,
    wanted,
)


@click.command()
@click.argument("prompt", required=False)
@mixing
@click.option("--like", type=FILE, metavar="PICTURE", help="All as in this picture, save what is given beside it.")
@click.option("--base", help="mini, a hub id, a diffusers folder or a checkpoint file.  [default: mini, or --like's]")
@drawing
@click.option("--count", type=int, default=1, show_default=True, help="Pictures; each has the next seed.")
@click.option("--batch", type=int, help="How many are drawn at once; unset: 4 on a GPU, else 1.")
@click.option("--out", type=FILE, help="A file, or a folder; unset: outputs/ of the workspace.")
@DEVICE
@PREDICTION
@WORKSPACE
@AS_JSON
def generate(out: Path | None, as_json: bool, **given: Any) -> None:
    """Draw PROMPT with any number of adapters, or a picture again with --like."""
    speak_softly()
    from .drawing_progress import DrawingProgress
    from .mixing.command import generate_files

    asked = wanted(given)
    with DrawingProgress(asked.drawing["count"], visible=not as_json) as progress:
        paths, pictures = generate_files(
            asked, out, say=lambda sentence: click.echo(sentence, err=True), on_step=progress
        )
    if as_json:
        print_json([
            {"path": path, "seed": picture.parameters.seed, "parameters": str(picture.parameters)}
            for path, picture in zip(paths, pictures, strict=True)
        ])
    else:
        click.echo("\n".join(str(path) for path in paths))


@click.command()
@click.argument("adapters", nargs=-1, metavar="[FILE_OR_NAME[:WEIGHT]]…")
@click.option("--mix", "mix_file", type=FILE, metavar="FILE.toml", help="Begin with this mix.")
@click.option("--mode", type=MODES, help="All at once (blend, the usual), in turns (switch), or the mean (composite).")
@click.option("--equalise", is_flag=True, help="Weights in units of strength: 1.0 means the same for every adapter.")
@click.option("--out", type=FILE, metavar="FILE.toml", help="Save the mix.")
@click.option("--export", type=FILE, metavar="FILE.safetensors", help="Write one adapter that does what the mix does.")
@click.option("--rank", type=int, help="Make the exported adapter smaller.")
@click.option("--base", default="mini", show_default=True, help="The base that the mix is for.")
@FORCE
@WORKSPACE
@AS_JSON
def mix(as_json: bool, force: bool, workspace: str, **given: Any) -> None:
    """Show a mix, save it as a small file, or write it as one adapter."""
    speak_softly()
    from .mixing.mix_command import MixWanted, make_mix

    for target in (given["out"], given["export"]):
        if target is not None:
            refuse_to_overwrite(target, force)
    made = make_mix(MixWanted(workspace=Path(workspace), **given))
    if as_json:
        print_json(made.as_dict())
    else:
        click.echo(made.table())


@click.command("png-info")
@click.argument("file", type=FILE)
@AS_JSON
def png_info(file: Path, as_json: bool) -> None:
    """Print what a PNG, JPEG or WebP says of how it was made, by sdlora, A1111 or others that write as these do."""
    speak_softly()
    from .mixing.png_info import read_parameters

    found = read_parameters(file)
    if as_json:
        print_json(found.as_dict())
    else:
        click.echo(found.text)
        for key, value in found.details.items():
            click.echo(f"{key}: {value}")


COMMANDS = (generate, mix, png_info)
