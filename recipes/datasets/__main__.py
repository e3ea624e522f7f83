"""Fetch the icon packages, render the chosen icons, write images and captions.

usage: python -m recipes.datasets [--packages DIR] [--out datasets]

`--packages` names a folder of packages that are unpacked already (`DIR/fluent-emoji/package/icons.json`, …); without
it npm fetches the pinned versions. Needs Pillow and resvg-py, nothing random. Takes about a minute.
LICENSE and README.md of each dataset are written by hand and left as they are.
"""

import argparse
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import resvg_py
from PIL import Image

PIXELS = 256
# resvg cuts masked shapes without smoothing; rendered larger and averaged down, their edges are as soft as the others.
OVERSAMPLING = 4
FACTS = ("trigger", "kind", "licence", "credit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packages", type=Path, help="folder with unpacked packages, instead of fetching them")
    parser.add_argument("--out", type=Path, default=Path("datasets"))
    arguments = parser.parse_args()
    recipe = tomllib.loads((Path(__file__).parent / "concepts.toml").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as scratch:
        for name, dataset in recipe.items():
            package = unpacked(dataset, arguments.packages) if arguments.packages else fetch(dataset, Path(scratch))
            count, size = write(dataset, json.loads((package / "icons.json").read_bytes()), arguments.out / name)
            print(f"{name}: {count} images, {size / 1e6:.2f} MB")


def fetch(dataset: dict[str, Any], scratch: Path) -> Path:
    """Have npm fetch the pinned version of a package; -> its unpacked folder."""
    npm = shutil.which("npm") or "npm"
    wanted = f"{dataset['package']}@{dataset['version']}"
    archive = subprocess.run(
        [npm, "pack", "--silent", wanted], cwd=scratch, check=True, capture_output=True, text=True
    ).stdout.split()[-1]
    folder = scratch / Path(archive).stem
    with tarfile.open(scratch / archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / "package"


def unpacked(dataset: dict[str, Any], packages: Path) -> Path:
    """The folder of an unpacked package, which must be of the pinned version."""
    folder = packages / Path(dataset["package"]).name / "package"
    found = json.loads((folder / "package.json").read_text(encoding="utf-8"))["version"]
    if found != dataset["version"]:
        raise SystemExit(f"{folder} is version {found}, the datasets are made from {dataset['version']}.")
    return folder


def write(dataset: dict[str, Any], icons: dict[str, Any], folder: Path) -> tuple[int, int]:
    """Write train/, holdout/ and dataset.toml of one dataset; -> number of images, bytes in all."""
    images = []
    for part in ("train", "holdout"):
        shutil.rmtree(folder / part, ignore_errors=True)
        (folder / part).mkdir(parents=True)
        for icon, content in dataset[part].items():
            target = folder / part / f"{icon}.png"
            smallest(render(icons, icon)).save(target, optimize=True)
            caption = f"{content}, {dataset['trigger']}\n"
            target.with_suffix(".txt").write_text(caption, encoding="utf-8", newline="\n")
            images.append(target)
    facts = "".join(f"{key} = {json.dumps(dataset[key])}\n" for key in FACTS)
    (folder / "dataset.toml").write_text(facts, encoding="utf-8", newline="\n")
    return len(images), sum(path.stat().st_size for path in images)


def render(icons: dict[str, Any], name: str) -> Image.Image:
    """One icon on white, RGB, PIXELS square."""
    icon = icons["icons"][name]
    defaults = {"left": 0, "top": 0, "width": 16, "height": 16}
    box = " ".join(str(icon.get(key, icons.get(key, default))) for key, default in defaults.items())
    side = PIXELS * OVERSAMPLING
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{box}" width="{side}" height="{side}">{icon["body"]}</svg>'
    )
    drawn = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side))))
    white = Image.new("RGBA", drawn.size, "white")
    return Image.alpha_composite(white, drawn.convert("RGBA")).convert("RGB").reduce(OVERSAMPLING)


def smallest(image: Image.Image) -> Image.Image:
    """The same picture in one channel where it is grey throughout."""
    grey = image.convert("L")
    return grey if grey.convert("RGB").tobytes() == image.tobytes() else image


if __name__ == "__main__":
    main()
