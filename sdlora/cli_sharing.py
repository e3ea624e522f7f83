"""The commands that look at adapter files and share them. Nothing heavy is imported before one of them runs."""

import gc
from pathlib import Path
from typing import Any

import click

from .cli_shared import AS_JSON, DEVICE, FORCE, WORKSPACE, finish, print_json, speak_softly, write_document
from .errors import Error

NEEDED_BASE = click.option(
    "--base", help="The base it was made for: some kinds depend on its weights, and strengths are shares of them."
)
DOCUMENT = click.option("--out", type=click.Path(path_type=Path), help="Write the JSON document to this file.")


@click.command()
@click.argument("file")
@NEEDED_BASE
@DOCUMENT
@FORCE
@WORKSPACE
@AS_JSON
def inspect(file: str, base: str | None, out: Path | None, force: bool, workspace: str, as_json: bool) -> None:
    """Tell all about an adapter: kind, family, ranks, hashes, strength, training, unknown keys.

    FILE is an adapter file, or a name in adapters/ of the workspace. Ends with exit code 3 where something in the file
    was not understood or its hash is wrong.
    """
    speak_softly()
    from .adapters.inspection import inspect as look_through
    from .adapters.library import find
    from .printed import show_inspection

    if base:
        from .bases.whole import weights_of

    found = look_through(find(file, Path(workspace) / "adapters"), weights_of(base) if base else None)
    if out:
        write_document(found.as_json(), out, force)
    if as_json:
        print_json(found.as_json())
    elif not out:
        show_inspection(found)
    finish(found.warnings)


@click.command("list")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--hashes", is_flag=True, help="Read the files through and check the hashes in their headers.")
@DOCUMENT
@FORCE
@WORKSPACE
@AS_JSON
def list_files(folder: Path | None, hashes: bool, out: Path | None, force: bool, workspace: str, as_json: bool) -> None:
    """List the adapter files of a folder and of the folders in it.

    FOLDER is adapters/ of the workspace where none is given. Family, trigger words and the hash are what the headers
    say; files that have not changed since they were last listed are not opened again. Ends with exit code 3 where a
    file can't be read.
    """
    from .adapters.listing import list_folder
    from .printed import show_list

    folder = folder or Path(workspace) / "adapters"
    gc.disable()  # headers are a million small objects without circles: looking for some takes a third of the time
    try:
        files = list_folder(folder, hashes=hashes)
    finally:
        gc.enable()
    rows = [file.as_json(path) for path, file in files.items()]
    if out:
        write_document(rows, out, force)
    if as_json:
        print_json(rows)
    elif not out:
        show_list(files, folder)
    problems = sum(bool(file.summary.problem) for file in files.values())
    finish([f"{problems} of {len(files)} files are no adapters that can be read"] if problems else [])


@click.command()
@click.argument("file")
@click.option("--sample", "samples", multiple=True, type=click.Path(path_type=Path), help="A picture for the kit.")
@click.option("--draw", type=click.IntRange(min=1), help="Draw so many pictures for the kit; needs --base.")
@click.option("--base", help="The base to draw with: mini, a hub id, a diffusers folder or a checkpoint file.")
@click.option("--prompt", help="What to draw; unset: the trigger words.")
@DEVICE
@click.option("--weight", type=float, default=1.0, show_default=True, help="The weight to recommend and to draw with.")
@click.option("--license", help="A license by the hub's name for it, such as openrail or cc-by-4.0.")
@click.option("--base-model", help="The base by its name on the hub; unset: the usual one of the adapter's family.")
@click.option("--out", type=click.Path(path_type=Path), help="The kit's folder; unset: FILE-card beside the file.")
@FORCE
@WORKSPACE
@AS_JSON
def card(
    file: str,
    draw: int | None,
    base: str | None,
    prompt: str | None,
    device: str,
    out: Path | None,
    workspace: str,
    as_json: bool,
    **settings: Any,
) -> None:
    """Write the sharing kit of an adapter: Hugging Face card, Civitai's text, pictures, thumbnail.

    The kit is a folder beside the file. The first picture goes into the header of FILE itself, small, where lists of
    models look for it; the tensors and the hash that A1111 knows them by stay as they are.
    """
    speak_softly()
    from .adapters.library import find
    from .sharing import Drawing, make_kit

    if draw and not base:
        raise Error("--draw needs a base to draw with: give --base, the one that the adapter was made for")
    drawing = Drawing(draw, base, prompt, device) if draw and base else None
    kit = make_kit(find(file, Path(workspace) / "adapters"), out, draw=drawing, **settings)
    if as_json:
        print_json(kit.as_json())
    else:
        click.echo(kit.folder)
    for hint in kit.hints:
        click.echo(f"sdlora: {hint}", err=True)
    finish(kit.warnings)


@click.command()
@click.argument("file")
@click.argument("repo", metavar="USER/REPO")
@click.option("--kit", type=click.Path(path_type=Path), help="The folder with card and samples; unset: FILE-card.")
@click.option("--private", is_flag=True, help="Only you can see the repository, where it is made anew.")
@WORKSPACE
@AS_JSON
def push(file: str, repo: str, kit: Path | None, private: bool, workspace: str, as_json: bool) -> None:
    """Upload an adapter, its card and samples to Hugging Face, with your own login."""
    speak_softly()
    from .adapters.library import find
    from .sharing import push as upload

    address = upload(find(file, Path(workspace) / "adapters"), repo, kit=kit, private=private)
    if as_json:
        print_json({"repo": repo, "address": address})
    else:
        click.echo(address)


COMMANDS = (card, inspect, list_files, push)
