"""The commands around a training. Nothing heavy is imported before one of them runs."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from .cli_shared import AS_JSON, FILE, FORCE, WORKSPACE, finish, print_json, refuse_to_overwrite, speak_softly
from .errors import Error, printable


class SchemaCommand(click.Command):
    """A command with an option for every field of `TrainConfig`, made only when the command itself is used."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        from .training.options import schema_options

        own = super().get_params(ctx)
        return [*own[:-1], *schema_options(), own[-1]]


@click.command(cls=SchemaCommand)
@click.argument("configs", nargs=-1, type=FILE, metavar="[CONFIG.toml]...")
@click.option(
    "--resume",
    is_flag=False,
    flag_value="",
    metavar="[RUN]",
    help="Go on with a run (a folder or a name under runs/); bare: the newest unfinished run of --name.",
)
@click.option(
    "--continue", "longer", metavar="RUN", help="Train a run that has ended longer: --steps +500, or how many in all."
)
@click.option(
    "--again", metavar="RUN", help="A new run with the settings that were given to this one, and the flags as changes."
)
@AS_JSON
def train(
    configs: tuple[Path, ...],
    resume: str | None,
    longer: str | None,
    again: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train an adapter from a folder of images, with settings from CONFIG.toml and flags (flags win).

    Several configs are trained one after another; one that fails does not stop the others.
    """
    speak_softly()
    given = {key: value for key, value in settings.items() if value not in (None, ())}
    if sum([resume is not None, longer is not None, again is not None]) > 1:
        raise Error("--resume, --continue and --again are three ways to begin: give one of them")
    if configs and (longer is not None or again is not None):
        raise Error("--continue and --again take their settings from a run: leave CONFIG.toml out")
    if len(configs) > 1:
        if resume is not None:
            raise Error("--resume goes on with one run: give one CONFIG.toml, or none")
        _train_all(configs, given, as_json)
        return
    from .training import starting
    from .training.run import train as run_training

    config = configs[0] if configs else None
    if longer is not None:
        wanted, which, said = starting.continued(longer, given)
    elif again is not None:
        wanted, which, said = starting.made_again(again, given)
    elif resume is not None:
        wanted, which, said = starting.resumed(resume or True, config, given)
    else:
        wanted, which, said = starting.new(config, given)
    if said:
        click.echo(said, err=True)
    run = run_training(wanted, resume=which)
    if as_json:
        print_json(vars(run))
    elif run.state == "finished":
        click.echo(run.adapter_path)


def _train_all(configs: Sequence[Path], given: dict[str, Any], as_json: bool) -> None:
    """Exit code 1 where any of them failed."""
    from .training.several import train_several

    outcomes = train_several(configs, given)
    for outcome in outcomes:
        click.echo(printable(outcome.sentence), err=True)
    if as_json:
        print_json([
            {"config": o.config, "problem": o.problem, **(vars(o.run) if o.run else {"state": "failed"})}
            for o in outcomes
        ])
    else:
        for outcome in outcomes:
            if outcome.run and outcome.run.state == "finished":
                click.echo(outcome.run.adapter_path)
    if any(outcome.problem for outcome in outcomes):
        sys.exit(1)


@click.command()
@click.argument("run")
@click.argument("step")
@WORKSPACE
@AS_JSON
def keep(run: str, step: str, workspace: str, as_json: bool) -> None:
    """Make a checkpoint of a training its adapter: STEP is a number, best or last; RUN a folder or a run's name."""
    speak_softly()
    from .training.keeping import keep as keep_step

    if step not in ("best", "last") and not step.isdecimal():
        raise Error(f"{step!r} is no step: give a number, best or last")
    kept = keep_step(run, int(step) if step.isdecimal() else step, Path(workspace))  # type: ignore[arg-type]
    if as_json:
        print_json(vars(kept))
    else:
        click.echo(kept.sentence)


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


@click.command()
@click.argument("run")
@click.option("--open/--no-open", "open_browser", default=False, help="Open the page in the browser.")
@WORKSPACE
@AS_JSON
def report(run: str, open_browser: bool, workspace: str, as_json: bool) -> None:
    """Write a training's report.html anew: samples, curves, images, settings, adapter; RUN is a folder or a name."""
    speak_softly()
    from .training.finding import find_run
    from .training.report import write_report

    page = write_report(find_run(run, Path(workspace)))
    if as_json:
        print_json({"report": page})
    else:
        click.echo(page)
    if open_browser:
        click.launch(page.resolve().as_uri())


COMMANDS = (import_config, keep, report, train)
