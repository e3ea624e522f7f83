"""The commands around a training. Nothing heavy is imported before one of them runs."""

from pathlib import Path

import click

from .cli_shared import AS_JSON, FILE, FORCE, finish, print_json, refuse_to_overwrite, speak_softly


@click.command(name="import-config")
@click.argument("file", type=FILE)
@click.option("--out", type=FILE, help="Where to write; unset: on stdout.")
@FORCE
@AS_JSON
def import_config(file: Path, out: Path | None, force: bool, as_json: bool) -> None:
    """Turn a config of kohya's sd-scripts, .toml or .json, into one of ours; says what it could not carry over."""
    speak_softly()
    from .files import write_text
    from .training.import_kohya import import_kohya

    found = import_kohya(file)
    if out:
        refuse_to_overwrite(out, force)
        write_text(out, found.toml())
    if as_json:
        print_json({"path": out, "settings": found.settings, "left_out": found.left_out})
    else:
        click.echo(out or found.toml(), nl=out is not None)
    finish([f"not carried over: {sentence}" for sentence in found.left_out])


COMMANDS = (import_config,)
