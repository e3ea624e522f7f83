"""One command a stage: `python -m recipes.mini fetch | render | tokenizer | vae | unet | package | evaluate | grid`."""

from pathlib import Path

import click

from recipes.mini import base as bases
from recipes.mini import evaluate as evaluation
from recipes.mini import grid as picture
from recipes.mini import icons as icon_stage
from recipes.mini import tokenizer as tokenizer_stage
from recipes.mini import unet as unet_stage
from recipes.mini import vae as vae_stage
from recipes.mini.captions import concepts
from recipes.mini.icons import Icons
from recipes.mini.latents import prepare
from recipes.mini.loop import Plan, Training
from recipes.mini.package import package as write_package
from sdlora.errors import Error
from sdlora.resources import MINI

work_option = click.option(
    "--work", type=click.Path(path_type=Path), default=Path(".work/mini"), show_default=True,
    help="Folder of icons, caches and checkpoints. While it holds a file named PAUSE, training sleeps.",
)  # fmt: skip
base_option = click.option(
    "--base", type=click.Path(path_type=Path, exists=True), default=MINI,
    help="Base folder to go on from; what it lacks (UNet, VAE) starts anew. Default: the shipped mini.",
)  # fmt: skip
seed_option = click.option("--seed", default=0, show_default=True)


@click.group(help=__doc__)
def cli() -> None: ...


@cli.command()
@work_option
def fetch(work: Path) -> None:
    """Download the icon sets from npm."""
    icon_stage.fetch(work / "npm")


@cli.command()
@work_option
def render(work: Path) -> None:
    """Rasterise the icons to 128 px."""
    icons = icon_stage.render(work / "npm")
    icons.save(work / "icons")
    known = icons.only(concepts())
    click.echo(f"{len(icons.names)} icons, {len(known.names)} of them show one of the {len(concepts())} concepts")


@cli.command()
@work_option
def tokenizer(work: Path) -> None:
    """Learn a vocabulary from the captions: the first part of a base made from nothing, WORK/base."""
    tokenizer_stage.train(Icons.load(work / "icons")).save_pretrained(work / "base" / "tokenizer")


@cli.command()
@work_option
@base_option
@seed_option
@click.option("--steps", default=6000, show_default=True)
@click.option("--rate", default=8e-4, show_default=True, help="Peak learning rate.")
def vae(work: Path, base: Path, seed: int, steps: int, rate: float) -> None:
    """Train the VAE on all icons; the result is a base without UNet, WORK/base."""
    model = bases.vae(base, new=True)
    vae_stage.train(model, Icons.load(work / "icons"), Plan(steps, rate, seed), work / "vae.pt")
    model.save_pretrained(work / "base" / "vae")
    bases.tokenizer(base).save_pretrained(work / "base" / "tokenizer")


@cli.command()
@work_option
@base_option
@seed_option
@click.option("--steps", default=6000, show_default=True, help="May be changed on a restart until the anneal begins.")
@click.option("--rate", default=4e-4, show_default=True, help="Peak learning rate.")
@click.option("--anneal", default=0.5, show_default=True, help="Share of the steps over which the rate falls to zero.")
@click.option("--batch", default=16, show_default=True, help="Images a step at 128 px; twice that at 64 px.")
def unet(work: Path, base: Path, seed: int, steps: int, rate: float, anneal: float, batch: int) -> None:
    """Train UNet and text encoder together on the concepts' icons."""
    icons = Icons.load(work / "icons").only(concepts())
    parts = bases.vae(base), bases.tokenizer(base)
    full, half = (prepare(icons, *parts, size, work) for size in (128, 64))
    model, text_encoder = bases.unet_and_text_encoder(base)
    plan = Plan(steps, rate, seed, anneal=anneal)
    unet_stage.train(model, text_encoder, full, half, plan, work / "unet.pt", batch)


@cli.command()
@work_option
@base_option
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
def package(work: Path, base: Path, out: Path) -> None:
    """Put the averaged weights of the last checkpoint into a complete fp16 base."""
    if not (work / "unet.pt").exists():
        raise Error(f"There is no checkpoint {work / 'unet.pt'}: run `python -m recipes.mini unet` first.")
    model, text_encoder = bases.unet_and_text_encoder(base)
    training = Training({"unet": model, "text_encoder": text_encoder}, Plan(1, 0), work / "unet.pt")
    training.averaged()
    write_package(model, text_encoder, bases.vae(base), bases.tokenizer(base), out)
    click.echo(f"{out}: the average at step {training.step}")


@cli.command()
@work_option
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
def evaluate(work: Path, folders: tuple[Path, ...]) -> None:
    """Print how well base FOLDERS predict fixed noise on fixed icons, by style."""
    draws = evaluation.fixed_draws(Icons.load(work / "icons").only(concepts()))
    for folder in folders:
        errors = evaluation.evaluate(folder, draws)
        click.echo("  ".join(f"{name} {error:.4f}" for name, error in errors.items()) + f"  {folder}")


@cli.command()
@base_option
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs/mini-grid.png"), show_default=True)
def grid(base: Path, out: Path) -> None:
    """Draw the grid of 5 x 8 prompts."""
    picture.save(picture.draw(base), out)


if __name__ == "__main__":
    try:
        cli(standalone_mode=True)
    except Error as error:
        raise SystemExit(f"{error}") from None
