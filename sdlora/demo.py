"""`sdlora demo`: two styles trained on the embedded mini base, then shown and mixed."""

from pathlib import Path

from PIL import Image
from rich.console import Console

from .bases import load_base
from .data.sample import sample_facts
from .errors import Error
from .files import write_atomically
from .mixing import Mixer
from .mixing.grids import labelled_grid
from .precision import fastest_dtype
from .training.config import TrainConfig
from .training.run import train
from .training.run_folder import RunFolder

STYLES = ("clay", "ink")
PROMPTS = ("red apple", "octopus", "evergreen tree", "cat face")
WEIGHTS = (0.0, 0.5, 1.0)
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
SEED, CELL, QUICK_STEPS = 3, 192, 2


def run_demo(workspace: Path, *, quick: bool = False, again: bool = False) -> list[Path]:
    """Train, measure, draw and mix; prints what it makes and returns the picture files.

    Adapters that an earlier demo finished are used again, and one that was interrupted goes on where it was, unless
    `again` asks for new ones.
    """
    console = Console(highlight=False, soft_wrap=True)
    adapters = {style: _adapter(style, workspace, quick, again, console) for style in STYLES}
    base = load_base("mini", dtype=fastest_dtype("cpu"))
    mixer = Mixer(base)
    steps = QUICK_STEPS if quick else None
    pictures = []
    for style, path in adapters.items():
        console.print(f"drawing with {style} …")
        pictures.append(_save(_weights_grid(mixer, style, path, steps), workspace / "outputs" / f"demo-{style}.png"))
    console.print("mixing the two …")
    pictures.append(_save(_mixing_strip(mixer, adapters, steps), workspace / "outputs" / "demo-mix.png"))
    for style, path in adapters.items():
        console.print(_improvement(style, RunFolder(workspace / "runs" / path.stem)))
    console.print("\nadapters, for any tool that reads .safetensors:", *(f"  {p}" for p in adapters.values()), sep="\n")
    console.print("pictures:", *(f"  {path}" for path in pictures), sep="\n")
    console.print("next: `sdlora ui` mixes them with sliders; your own pictures: README, 'Your first real style'")
    return pictures


def _adapter(style: str, workspace: Path, quick: bool, again: bool, console: Console) -> Path:
    name = f"demo-{style}"
    finished = workspace / "adapters" / f"{name}.safetensors"
    if finished.is_file() and not again:
        console.print(f"{style}: trained already, {finished} (anew with `sdlora demo --again`)")
        return finished
    console.rule(f"training {style}")
    values = {"name": name, "images": f"sample:{style}", "base": "mini", "workspace": str(workspace)}
    few = {"steps": QUICK_STEPS, "validate_every": QUICK_STEPS, "sample_every": QUICK_STEPS}
    config = TrainConfig(**values, **(few if quick else {}))
    unfinished = not again and _unfinished(name, workspace)
    run = train(config, resume=unfinished)
    if run.state == "stopped":
        raise Error("The demo was stopped: `sdlora demo` goes on where it was")
    return run.adapter_path


def _improvement(style: str, run: RunFolder) -> str:
    """What the run measured on pictures that it never saw."""
    before, after = run.held_out_losses()
    if before is None or after is None:
        return f"{style}: its run folder is gone, and with it the held-out loss; see `sdlora evaluate`"
    return f"{style}: held-out loss {before:.4f} -> {after:.4f}, {1 - after / before:.1%} lower on unseen pictures"


def _unfinished(name: str, workspace: Path) -> bool:
    runs = [RunFolder(path) for path in (workspace / "runs").glob(f"{name}*")]
    return any(run.status().get("state") not in (None, "finished") for run in runs)


def _weights_grid(mixer: Mixer, style: str, path: Path, steps: int | None) -> Image.Image:
    """Prompts × weights, one seed for all."""
    trigger = _trigger(style)
    rows: list[list[Image.Image]] = []
    for prompt in PROMPTS:
        rows.append([])
        for weight in WEIGHTS:
            mixer.set({str(path): weight})
            rows[-1].append(mixer.generate(f"{prompt}, {trigger}", seed=SEED, steps=steps)[0].image)
    return labelled_grid(rows, [f"{style} {weight:g}" for weight in WEIGHTS], PROMPTS, cell=CELL)


def _mixing_strip(mixer: Mixer, adapters: dict[str, Path], steps: int | None) -> Image.Image:
    """One prompt and seed; the first style from 0 to 1 while the second goes from 1 to 0."""
    first, second = adapters
    row = []
    for share in SHARES:
        mixer.set({str(adapters[first]): share, str(adapters[second]): 1 - share})
        prompt = f"{PROMPTS[0]}, {_trigger(first)}, {_trigger(second)}"
        row.append(mixer.generate(prompt, seed=SEED, steps=steps)[0].image)
    return labelled_grid([row], [f"{first} {s:g}\n{second} {1 - s:g}" for s in SHARES], cell=CELL)


def _trigger(style: str) -> str:
    facts = sample_facts(f"sample:{style}")
    return facts.trigger if facts else ""


def _save(picture: Image.Image, path: Path) -> Path:
    write_atomically(path, lambda target: picture.save(target, "PNG"))
    return path
