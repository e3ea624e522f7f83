"""The commands that look at adapter files and share them. Nothing heavy is imported before one of them runs."""

from pathlib import Path

import click

from .cli_shared import AS_JSON, WORKSPACE, finish, print_json, speak_softly

NEEDED_BASE = click.option(
    "--base", help="The base it was made for: some kinds depend on its weights, and strengths are shares of them."
)


@click.command()
@click.argument("file")
@NEEDED_BASE
@WORKSPACE
@AS_JSON
def inspect(file: str, base: str | None, workspace: str, as_json: bool) -> None:
    """Tell all about an adapter: kind, family, ranks, hashes, strength, training, unknown keys.

    FILE is an adapter file, or a name in adapters/ of the workspace. Ends with exit code 3 where something in the file
    was not understood or its hash is wrong.
    """
    speak_softly()
    from .adapters.inspection import inspect as look_through
    from .adapters.library import find
    from .printed import show_inspection

    found = look_through(find(file, Path(workspace) / "adapters"), base)
    if as_json:
        print_json(found.as_json())
    else:
        show_inspection(found)
    finish(found.warnings)


@click.command("list")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--hashes", is_flag=True, help="Read the files through and check the hashes in their headers.")
@WORKSPACE
@AS_JSON
def list_files(folder: Path | None, hashes: bool, workspace: str, as_json: bool) -> None:
    """List the adapter files of a folder and of the folders in it.

    FOLDER is adapters/ of the workspace where none is given. Family, trigger words and the hash are what the headers
    say; files that have not changed since they were last listed are not opened again. Ends with exit code 3 where a
    file can't be read.
    """
    from .adapters.listing import list_folder
    from .printed import show_list

    folder = folder or Path(workspace) / "adapters"
    files = list_folder(folder, hashes=hashes)
    if as_json:
        print_json([file.as_json(path) for path, file in files.items()])
    else:
        show_list(files, folder)
    problems = sum(bool(file.summary.problem) for file in files.values())
    finish([f"{problems} of {len(files)} files are no adapters that can be read"] if problems else [])


COMMANDS = (inspect, list_files)
