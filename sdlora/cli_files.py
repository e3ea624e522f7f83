"""The commands that make files of adapter files. Nothing heavy is imported before one of them runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .cli_shared import AS_JSON, FORCE, WORKSPACE, finish, print_json, refuse_to_overwrite, speak_softly

if TYPE_CHECKING:
    from .adapters import Adapter
    from .algebra import ErrorReport

DTYPES = click.Choice(["fp16", "bf16", "fp32"])
DTYPE = click.option("--dtype", type=DTYPES, default="fp16", show_default=True, help="Precision of the file.")
BASE = click.option("--base", help="The base it was made for: kinds such as DoRA can't be changed without its weights.")
RANK = click.option("--rank", type=click.IntRange(min=1), help="The largest rank that a module may have.")
KEEP = click.option("--keep", type=float, help="The share of each module's energy Σσ² to keep, such as 0.99.")
WEIGHTED = click.argument("adapters", nargs=-1, required=True, metavar="FILE_OR_NAME[:WEIGHT]...")


def out_option(usual: str) -> Any:
    """`--out`, with what is usual without it."""
    return click.option("--out", type=click.Path(path_type=Path), help=f"Where to write; unset: {usual}.")


@click.command()
@click.argument("file")
@click.option("--format", type=click.Choice(["kohya", "diffusers"]), default="kohya", show_default=True)
@click.option("--dtype", type=DTYPES, help="Precision of the file; unset: every tensor's own.")
@click.option("--private", is_flag=True, help="Leave out file names, tags, captions and facts about the dataset.")
@out_option("FILE-FORMAT.safetensors beside the file")
@FORCE
@WORKSPACE
@AS_JSON
def convert(
    file: str, format: str, out: Path | None, force: bool, workspace: str, as_json: bool, **settings: Any
) -> None:
    """Write an adapter of any format, .pt and .ckpt too, as one that everybody reads."""
    speak_softly()
    from .adapters.formats import convert as write
    from .adapters.library import find

    source = find(file, Path(workspace) / "adapters")
    out = out or source.with_name(f"{source.stem}-{format}.safetensors")
    refuse_to_overwrite(out, force)
    adapter = write(source, out, format=format, **settings)
    if as_json:
        facts = {"family": adapter.family, "geometry": adapter.geometry, "modules": len(adapter.updates)}
        print_json({"path": out, "read": adapter.report.format, **facts, "warnings": adapter.report.sentences})
    else:
        click.echo(out)
    finish(adapter.report.sentences)


@click.command()
@WEIGHTED
@RANK
@KEEP
@click.option(
    "--method",
    type=click.Choice(["concat", "ties", "dare"]),
    default="concat",
    show_default=True,
    help="concat is exact; ties and dare thin the changes out first.",
)
@click.option("--density", type=float, default=0.5, show_default=True, help="What ties and dare keep of each change.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of what dare drops.")
@BASE
@DTYPE
@out_option("adapters/ of the workspace, named after all of them")
@FORCE
@WORKSPACE
@AS_JSON
def merge(
    adapters: tuple[str, ...],
    dtype: str,
    out: Path | None,
    force: bool,
    workspace: str,
    as_json: bool,
    **settings: Any,
) -> None:
    """Make one adapter of several, each with its weight, exactly; or smaller, with its error told."""
    speak_softly()
    from . import algebra

    library = Path(workspace) / "adapters"
    chosen, weights = _load_weighted(adapters, library)
    out = out or library / f"{'+'.join(adapter.name for adapter in chosen)}.safetensors"
    refuse_to_overwrite(out, force)
    merged, report = algebra.merge(chosen, weights, **settings)
    _save(merged, report, chosen, out, dtype, as_json, settings["base"])


@click.command()
@click.argument("file")
@RANK
@KEEP
@click.option("--ratio", type=float, help="The largest over the smallest singular value that a module may have.")
@click.option("--max-error", type=float, help="The largest relative error that a module may have, such as 0.01.")
@BASE
@DTYPE
@out_option("FILE-resized.safetensors beside the file")
@FORCE
@WORKSPACE
@AS_JSON
def resize(
    file: str, dtype: str, out: Path | None, force: bool, workspace: str, as_json: bool, **settings: Any
) -> None:
    """Make an adapter smaller: to a rank, or as far as energy or error allow, in each module."""
    speak_softly()
    from . import algebra
    from .adapters.library import find, load

    source = find(file, Path(workspace) / "adapters")
    out = out or source.with_name(f"{source.stem}-resized.safetensors")
    refuse_to_overwrite(out, force)
    adapter = load(source)
    resized, report = algebra.resize(adapter, **settings)
    _save(resized, report, [adapter], out, dtype, as_json, settings["base"])


@click.command()
@click.argument("base")
@click.argument("tuned")
@RANK
@KEEP
@click.option("--full", is_flag=True, help="Keep modules whose biases differ whole: exact, and large.")
@DTYPE
@out_option("adapters/ of the workspace, named after TUNED")
@FORCE
@WORKSPACE
@AS_JSON
def extract(
    base: str,
    tuned: str,
    dtype: str,
    out: Path | None,
    force: bool,
    workspace: str,
    as_json: bool,
    **settings: Any,
) -> None:
    """Make an adapter of the difference between two checkpoints, TUNED − BASE."""
    speak_softly()
    from . import algebra

    out = out or Path(workspace) / "adapters" / f"{Path(tuned).stem}-extracted.safetensors"
    refuse_to_overwrite(out, force)
    adapter, report = algebra.extract(base, tuned, **settings)
    _save(adapter, report, [], out, dtype, as_json)


@click.command()
@click.argument("base")
@WEIGHTED
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A file or folder, as BASE is one.")
@FORCE
@WORKSPACE
@AS_JSON
def apply(base: str, adapters: tuple[str, ...], out: Path, force: bool, workspace: str, as_json: bool) -> None:
    """Write a full checkpoint with adapters in it: BASE with each at its weight, rounded once."""
    speak_softly()
    from . import algebra

    chosen, weights = _load_weighted(adapters, Path(workspace) / "adapters")
    refuse_to_overwrite(out, force)
    applied = algebra.apply(base, chosen, weights, out, force=force)
    warnings = [*_sentences(chosen), *applied.notes]
    if as_json:
        print_json({"path": applied.path, "modules": applied.modules, "warnings": warnings})
    else:
        click.echo(applied.path)
    finish(warnings)


@click.command()
@click.argument("a")
@click.argument("b")
@BASE
@out_option("no picture is drawn; a PNG's name draws one")
@FORCE
@WORKSPACE
@AS_JSON
def compare(a: str, b: str, base: str | None, out: Path | None, force: bool, workspace: str, as_json: bool) -> None:
    """Compare two adapters, block by block: how strong each is, and how much they agree."""
    speak_softly()
    from . import algebra
    from .printed import show_comparison

    (one, other), _ = _load_weighted((a, b), Path(workspace) / "adapters")
    if out:
        refuse_to_overwrite(out, force)
    comparison = algebra.compare(one, other, base)
    if out:
        algebra.draw_comparison(comparison, out)
    warnings = _sentences([one, other])
    if as_json:
        print_json({**comparison.as_json(), "picture": out, "warnings": warnings})
    else:
        show_comparison(comparison)
    finish(warnings)


def _load_weighted(texts: Sequence[str], library: Path) -> tuple[list["Adapter"], list[float]]:
    """Adapters and weights of `FILE_OR_NAME[:WEIGHT]`."""
    from .adapters.library import find, load, parse_weight

    named = [parse_weight(text) for text in texts]
    return [load(find(name, library)) for name, _ in named], [weight for _, weight in named]


def _sentences(adapters: Sequence["Adapter"]) -> list[str]:
    """What was wrong with the adapters that were read, each sentence with the name of its adapter."""
    return [f"{adapter.name}: {sentence}" for adapter in adapters for sentence in adapter.report.sentences]


def _save(
    adapter: "Adapter",
    report: "ErrorReport",
    sources: Sequence["Adapter"],
    out: Path,
    dtype: str,
    as_json: bool,
    base: str | None = None,
) -> None:
    """Write what the algebra made; tell its error and, apart, that of the file's own rounding."""
    from . import algebra
    from .adapters import load_adapter, save_adapter
    from .printed import show_errors

    save_adapter(adapter, out, dtype=dtype)
    written = algebra.compare(adapter, load_adapter(out), base).total
    rounding = written.difference / written.norm_a if written.norm_a else 0.0
    warnings = [*_sentences(sources), *report.notes]
    if as_json:
        print_json({"path": out, "rounding_error": rounding, **report.as_json(), "warnings": warnings})
    else:
        show_errors(report, rounding, dtype)
        click.echo(out)
    finish(warnings)


COMMANDS = (apply, compare, convert, extract, merge, resize)
