"""What adapters do to pictures they never saw: the sample datasets' holdouts, and 64 icons of a style that mini knows.

`python -m benchmarks.heldout [--base BASE] [--icons FOLDER]` trains the three sample datasets with the shipped presets
(in `workspace/`; finished ones are used again) and prints one table. FOLDER holds icons that `python -m recipes.mini
render` made; without it the last column is left out.
"""

import argparse
from pathlib import Path

import torch
from PIL import Image
from torch import nn

from recipes.mini.captions import caption, concepts
from recipes.mini.icons import Icons
from sdlora.bases import load_base
from sdlora.data.folder import read_folder
from sdlora.data.latents import Viewing
from sdlora.mixing import Mixer
from sdlora.precision import fastest_dtype
from sdlora.training.config import TrainConfig
from sdlora.training.holdout import Holdout
from sdlora.training.loss import Denoiser
from sdlora.training.run import train
from sdlora.training.run_folder import RunFolder

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


class Known:
    """The loss on pictures of a style that a base knows, without and with adapters."""

    def __init__(self, base: str, folder: Path) -> None:
        loaded = load_base(base)
        self._mixer = Mixer(loaded)
        viewing = Viewing.square(loaded.resolution)
        self._draws = Holdout(loaded, read_folder(folder).examples, viewing, seed=0, encoder_trains=True)
        for module in (loaded.unet, *loaded.text_encoders):
            nn.Module.to(module, fastest_dtype("cpu"))
        self._denoiser = Denoiser(loaded)
        self._before = self._loss({})

    def rise(self, adapter: Path) -> float:
        """By which share an adapter's loss is above the base's."""
        return self._loss({str(adapter): 1.0}) / self._before - 1

    def _loss(self, mix: dict[str, float]) -> float:
        self._mixer.set(mix)
        return self._draws.measure(self._denoiser, torch.device("cpu")).loss


def trained(dataset: str, base: str, workspace: Path) -> Path:
    """The dataset's adapter with its preset; trained unless it is there."""
    finished = workspace / "adapters" / f"{dataset}.safetensors"
    if not finished.is_file():
        train(TrainConfig(name=dataset, images=f"sample:{dataset}", base=base, workspace=str(workspace)))
    return finished


def row(dataset: str, run: RunFolder, rise: float | None) -> str:
    """One line of the table. Training itself measures before its first step and after its last."""
    measured = [entry for entry in run.metrics() if "holdout_loss" in entry]
    (before, after), steps = (measured[0], measured[-1]), measured[-1]["step"]
    pairs = zip(before["holdout_bands"], after["holdout_bands"], strict=True)
    bands = ", ".join(f"{high / low - 1:+.0%}" for low, high in pairs)
    low, high = before["holdout_loss"], after["holdout_loss"]
    known = f"{rise:+.1%}" if rise is not None else "not measured"
    return f"| {dataset}, {steps} steps | {low:.4f} | {high:.4f} | {high / low - 1:+.1%} | {bands} | {known} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="mini")
    parser.add_argument("--icons", type=Path)
    parser.add_argument("--workspace", type=Path, default=Path("workspace/heldout"))
    given = parser.parse_args()
    known = Known(given.base, known_style(given.icons, given.workspace / "known")) if given.icons else None
    print("| dataset | base | adapter | change | by timestep, low to high | 64 known icons |")
    print("| --- | --- | --- | --- | --- | --- |")
    for dataset in ("clay", "ink", "blob"):
        adapter = trained(dataset, given.base, given.workspace)
        rise = known.rise(adapter) if known else None
        print(row(dataset, RunFolder(given.workspace / "runs" / dataset), rise), flush=True)


if __name__ == "__main__":
    main()
