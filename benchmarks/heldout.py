"""What adapters do to pictures they never saw: the sample datasets' holdouts, and 64 icons of a style that mini knows.

`python -m benchmarks.heldout [--base BASE] [--icons FOLDER]` trains the three sample datasets with the shipped presets
(in `workspace/`; finished ones are used again) and prints one table. FOLDER holds icons that `python -m recipes.mini
render` made; without it the last column is left out.
"""

import argparse
from pathlib import Path

from PIL import Image

from recipes.mini.captions import caption, concepts
from recipes.mini.icons import Icons
from sdlora.evaluation import Evaluation, evaluate
from sdlora.training.config import TrainConfig
from sdlora.training.run import train

KNOWN, KNOWN_IMAGES, EVERY = "noto", 64, 3


def known_style(icons: Path, folder: Path) -> Path:
    """Write 64 pictures of a style that mini was trained on, captioned as it was taught, without any trigger."""
    drawn = Icons.load(icons).only(concepts())
    chosen = [i for i, (icon_set, _) in enumerate(drawn.names) if icon_set == KNOWN][::EVERY][:KNOWN_IMAGES]
    folder.mkdir(parents=True, exist_ok=True)
    for i in chosen:
        name = drawn.names[i][1]
        picture = Image.fromarray(drawn.pixels[i], "RGBA")
        picture.save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(caption(KNOWN, name), encoding="utf-8")
    return folder


def adapter(dataset: str, base: str, workspace: Path) -> Path:
    """The dataset's adapter with its preset; trained unless it is there."""
    finished = workspace / "adapters" / f"{dataset}.safetensors"
    if not finished.is_file():
        train(TrainConfig(name=dataset, images=f"sample:{dataset}", base=base, workspace=str(workspace)))
    return finished


def row(dataset: str, held: Evaluation, known: Evaluation | None) -> str:
    """One line of the table."""
    low, high = held.base_bands, held.adapter_bands
    bands = ", ".join(f"{after / before - 1:+.0%}" for before, after in zip(low, high, strict=True))
    known_change = f"{known.adapter_loss / known.base_loss - 1:+.1%}" if known else "not measured"
    change = f"{held.adapter_loss / held.base_loss - 1:+.1%}"
    return f"| {dataset} | {held.base_loss:.4f} | {held.adapter_loss:.4f} | {change} | {bands} | {known_change} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="mini")
    parser.add_argument("--icons", type=Path)
    parser.add_argument("--workspace", type=Path, default=Path("workspace/heldout"))
    given = parser.parse_args()
    known = known_style(given.icons, given.workspace / "known") if given.icons else None
    print("| dataset | base | adapter | change | by timestep, low to high | 64 known icons |")
    print("| --- | --- | --- | --- | --- | --- |")
    for dataset in ("clay", "ink", "blob"):
        path = adapter(dataset, given.base, given.workspace)
        held = evaluate(path, f"sample:{dataset}/holdout", given.base)
        print(row(dataset, held, evaluate(path, known, given.base) if known else None), flush=True)


if __name__ == "__main__":
    main()
