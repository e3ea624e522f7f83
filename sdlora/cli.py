"""The `sdlora` command: one thin function a command. Nothing heavy is imported before a command runs."""

import sys
from pathlib import Path
from typing import Any

import click

from . import cli_data, cli_drawing, cli_files, cli_grid, cli_sharing, cli_training
from .cli_shared import AS_JSON, BASE, DEVICE, PREDICTION, WORKSPACE, ZERO_SNR, Group, print_json, speak_softly
from .errors import Error, printable
from .version import VERSION


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(VERSION, prog_name="sdlora")
def cli() -> None:
    """Train a Stable Diffusion style from a folder of images, mix styles with sliders, share one file."""


@cli.command()
@click.argument("adapter")
@click.option("--images", required=True, help="Folder of images that were not trained on, or sample:NAME.")
@BASE
@click.option("--weight", type=float, default=1.0, show_default=True, help="Weight of the adapter.")
@click.option("--trigger", help="Put in front of captions that lack it; unset: captions as they are.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the noise.")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), default="auto", show_default=True)
@DEVICE
@PREDICTION
@ZERO_SNR
@WORKSPACE
@AS_JSON
def evaluate(adapter: str, as_json: bool, workspace: str, **settings: Any) -> None:
    """The denoising loss with ADAPTER against the base's own, on images that were not trained on."""
    speak_softly()
    from .adapters.library import find
    from .evaluation import evaluate as measure

    result = measure(find(adapter, Path(workspace) / "adapters"), **settings)
    if as_json:
        print_json(result.as_dict())
    else:
        click.echo(result.table())


@cli.command()
@click.option("--quick", is_flag=True, help="A few steps only: does everything work?")
@click.option("--again", is_flag=True, help="Train anew even where the demo's adapters are there.")
@WORKSPACE
def demo(quick: bool, again: bool, workspace: str) -> None:
    """Train two styles on the embedded mini base, then show and mix them. Needs no download and no GPU."""
    speak_softly()
    from .demo import run_demo

    run_demo(Path(workspace), quick=quick, again=again)


@cli.command()
@WORKSPACE
@AS_JSON
def check(workspace: str, as_json: bool) -> None:
    """Print device, memory, precision, versions and bases found, with a remedy for what is wrong."""
    speak_softly()
    from rich.console import Console

    from .check import collect, render

    report = collect(Path(workspace))
    if as_json:
        click.echo(report.json())
    else:
        render(report, Console())


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; others need a password.")
@click.option("--port", type=int, default=7860, show_default=True, help="The next free one is taken if it is not.")
@click.option("--share", is_flag=True, help="Also reachable from the internet through Gradio's tunnel.")
@click.option("--password", help="Asked for in the browser; made up and printed where one is needed.")
@click.option("--allow-host", "allow_hosts", multiple=True, metavar="NAME", help="Another name it is reached by.")
@click.option("--open/--no-open", "open_browser", default=False, help="Open the page in the browser.")
@WORKSPACE
def ui(workspace: str, **settings: Any) -> None:
    """Open the web UI: mix adapters with sliders, in a browser."""
    speak_softly()
    try:
        from ui import launch
    except ModuleNotFoundError as problem:
        if problem.name != "gradio":
            raise
        raise Error("The web UI needs Gradio: install it with  pip install 'sdlora[ui]'") from None
    launch(Path(workspace), **settings)


for _commands in (cli_data, cli_drawing, cli_files, cli_grid, cli_sharing, cli_training):
    for _command in _commands.COMMANDS:
        cli.add_command(_command)


def main() -> None:
    """Run a command; a user's mistake is one sentence on stderr and exit code 1."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")  # Windows consoles default to a code page
    try:
        cli.main(standalone_mode=False)
    except Error as problem:
        _fail(str(problem))
    except click.ClickException as problem:
        problem.show()
        sys.exit(problem.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except OSError as problem:
        if problem.filename is None:
            raise
        _fail(f"{problem.filename}: {problem.strerror}")


def _fail(sentence: str) -> None:
    click.echo(f"sdlora: {printable(sentence)}", err=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
