"""What the commands share: options, JSON on stdout, warnings that end in exit code 3."""

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from .errors import Error, printable
from .files import write_text

DONE_WITH_WARNINGS = 3
TALKATIVE = ("bitsandbytes", "torchao", "torch.utils._pytree")  # each warns of what it lacks whenever it is imported

WORKSPACE = click.option(
    "--workspace", default="workspace", show_default=True, help="Folder for runs, adapters and outputs."
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout, all else on stderr.")
BASE = click.option(
    "--base", default="mini", show_default=True, help="mini, a hub id, a diffusers folder or a checkpoint file."
)
VAE = click.option(
    "--vae", help="Another VAE for the base: a .safetensors or .ckpt file, a diffusers folder or a hub id."
)
SAFETY = click.option(
    "--safety/--no-safety",
    default=None,
    help="Black out what the base's safety checker finds; unset: where the base has one on this computer.",
)
DEVICE = click.option("--device", default="auto", show_default=True, help="cuda, cuda:1, mps or cpu.")
PREDICTION = click.option(
    "--prediction-type", type=click.Choice(["epsilon", "v_prediction"]), help="What the base predicts; else found out."
)
ZERO_SNR = click.option(
    "--zero-terminal-snr/--no-zero-terminal-snr",
    default=None,
    help="Whether the base's noise schedule ends in noise alone; unset: as the base says.",
)
FORCE = click.option("--force", is_flag=True, help="Overwrite what is there.")
FILE = click.Path(path_type=Path)
MODES = click.Choice(["blend", "switch", "composite"])
ADAPTER_HELP = "Or a tag with all its settings, <lora:NAME:TEXT:UNET:start=0.2>. May be given repeatedly."
Command = Callable[..., Any]


def mixing(command: Command) -> Command:
    """The options of a mix: `adapters`, `mix_file`, `mode`, `equalise`."""
    return _with(
        command,
        click.option("--adapter", "adapters", multiple=True, metavar="FILE_OR_NAME[:WEIGHT]", help=ADAPTER_HELP),
        click.option(
            "--mix", "mix_file", type=FILE, metavar="FILE.toml", help="A mix that sdlora mix or a Mixer saved."
        ),
        click.option(
            "--mode", type=MODES, help="All at once (blend, the usual), in turns, or the mean of predictions."
        ),
        click.option("--equalise", is_flag=True, help="1.0 means the same strength for every adapter."),
    )


def drawing(command: Command) -> Command:
    """The options that every drawing has: `negative`, `seed`, `steps`, `guidance`, `sampler`, `size`, `clip_skip`."""
    return _with(
        command,
        click.option("--negative", help="What should not be in the picture."),
        click.option("--seed", type=int, help="Same seed, same picture; unset: a random one."),
        click.option("--steps", type=int, help="Sampling steps."),
        click.option("--guidance", type=float, help="Guidance scale."),
        click.option("--sampler", help="Euler a, DPM++ 2M Karras, DDIM, UniPC, LCM, …; a wrong name lists all."),
        click.option("--size", help="Side, or WIDTHxHEIGHT, in pixels."),
        click.option("--clip-skip", type=int, help="Counted as A1111 does; 1 skips nothing."),
        click.option("--image", type=FILE, help="A picture to draw over."),
        click.option("--strength", type=float, help="How much of --image is drawn anew, 0 to 1.  [default: 0.6]"),
        click.option("--upscale", type=float, metavar="SCALE", help="Draw again, this many times as large, over it."),
        click.option("--upscale-strength", type=float, help="How much of it is drawn anew.  [default: 0.5]"),
        click.option("--upscale-steps", type=int, help="Steps of the second pass; unset: as many as of the first."),
        VAE,
        ZERO_SNR,
        SAFETY,
    )


def wanted(given: dict[str, Any]) -> Any:
    """What the options of `mixing` and `drawing`, and a command's own, ask for: a `mixing.command.Wanted`."""
    from .mixing.command import Wanted, parse_size
    from .sampling.recipe import SecondPass

    second = {key: given.pop(f"upscale{ending}") for key, ending in SECOND_PASS.items()}
    if second["scale"] is None and any(value is not None for value in second.values()):
        raise Error("--upscale-strength and --upscale-steps are of the second pass: give --upscale SCALE with them")
    pass_again = SecondPass(**{key: value for key, value in second.items() if value is not None})
    size = parse_size(given.pop("size"))
    settings = {key: given.pop(key) for key in DRAWING if key in given}
    settings |= {"size": size, "second_pass": pass_again if second["scale"] is not None else None}
    return Wanted(drawing=settings, workspace=Path(given.pop("workspace")), **given)


SECOND_PASS = {"scale": "", "strength": "_strength", "steps": "_steps"}
DRAWING = ("negative", "seed", "steps", "guidance", "sampler", "clip_skip", "image", "strength", "count", "batch")


def _with(command: Command, *options: Callable[[Command], Command]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


class Group(click.Group):
    """Lists each command with the whole first sentence of its help, wrapped: click's own list cuts it off with `…`."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Names and first sentences, in the order of the alphabet."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, c.get_short_help_str(limit=1000)) for name, c in commands if c and not c.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def speak_softly() -> None:
    """Keep libraries from talking over our own sentences."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    for library in TALKATIVE:
        logging.getLogger(library).setLevel(logging.ERROR)


def print_json(value: Any) -> None:
    """One JSON document on stdout; paths become text."""
    click.echo(_json(value))


def write_document(value: Any, out: Path, force: bool) -> None:
    """The same document in a file, atomically."""
    refuse_to_overwrite(out, force)
    write_text(out, _json(value) + "\n")


def _json(value: Any) -> str:
    def plain(item: Any) -> Any:
        return dict(item) if isinstance(item, Mapping) else str(item)

    return json.dumps(value, default=plain, ensure_ascii=False, indent=2)


def refuse_to_overwrite(target: Path, force: bool) -> None:
    """Raises `Error` where something is at `target` already and `--force` was not given."""
    if target.exists() and not force:
        raise Error(f"{target} is there already: give another --out, or --force to overwrite it")


def finish(warnings: Sequence[str]) -> None:
    """Say the warnings on stderr and end with exit code 3, if there are any."""
    for warning in warnings:
        click.echo(f"sdlora: {printable(warning)}", err=True)
    if warnings:
        sys.exit(DONE_WITH_WARNINGS)
