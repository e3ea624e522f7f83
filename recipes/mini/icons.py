"""The icon sets: fetched from npm as SVG, rasterised to RGBA."""

import io
import json
import re
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from PIL import Image

from sdlora.errors import Error
from sdlora.files import write_atomically, write_text

SIZE = 128

# Never add openmoji, fluent-emoji, fluent-emoji-high-contrast or noto-v1: adapters are trained and judged on those.
VERSIONS = {"noto": "1.2.9", "twemoji": "1.2.5", "fluent-emoji-flat": "1.2.6", "fxemoji": "1.2.2"}

# Flags, letters, clocks, and the many near-copies of one person: writing and duplicates teach a small model nothing.
SKIPPED = re.compile(
    r"skin-tone|flag|keycap|^\d+$|button|o-clock|thirty|light|dark|medium|family|couple|kiss-"
    r"|men-|women-|person-|man-|woman-|people-|letter|input|squared|regional|^u[0-9a-f]{4,}"
)


@dataclass(frozen=True)
class Icons:
    """`pixels` is (N, SIZE, SIZE, 4) uint8, RGBA; `names` holds N pairs (icon set, icon name)."""

    pixels: np.ndarray
    names: list[tuple[str, str]]

    @classmethod
    def load(cls, folder: Path) -> "Icons":
        if not (folder / "names.json").exists():
            raise Error(f"There are no rendered icons in {folder}: run `python -m recipes.mini render` first.")
        names = json.loads((folder / "names.json").read_text(encoding="utf-8"))
        return cls(np.load(folder / "pixels.npy"), [(icon_set, name) for icon_set, name in names])

    def save(self, folder: Path) -> None:
        write_atomically(folder / "pixels.npy", lambda path: _save_array(path, self.pixels))
        write_text(folder / "names.json", json.dumps(self.names))  # last: it marks the folder as complete

    def only(self, concepts: set[str]) -> "Icons":
        kept = [i for i, (_, name) in enumerate(self.names) if name in concepts]
        return Icons(self.pixels[kept], [self.names[i] for i in kept])


def fetch(folder: Path) -> None:
    """Download and unpack each icon set to `folder/SET/package/`; sets that are there already are left alone."""
    npm = shutil.which("npm")
    for icon_set, version in VERSIONS.items():
        target = folder / icon_set
        if (target / "package" / "icons.json").exists():
            continue
        if npm is None:
            raise Error("npm was not found: install Node.js, which brings it, then run fetch again.")
        target.mkdir(parents=True, exist_ok=True)
        command = [npm, "pack", f"@iconify-json/{icon_set}@{version}", "--silent"]
        subprocess.run(command, cwd=target, check=True)
        with tarfile.open(next(target.glob("*.tgz"))) as archive:
            archive.extractall(target, filter="data")


def render(npm: Path) -> Icons:
    """Rasterise all icons under `npm` (see `fetch`), except those skipped and those that are nearly empty."""
    pixels, names = [], []
    for icon_set in VERSIONS:
        icons = json.loads((npm / icon_set / "package" / "icons.json").read_text(encoding="utf-8"))
        for name, icon in icons["icons"].items():
            if icon.get("hidden") or SKIPPED.search(name):
                continue
            image = rasterise(icon["body"], view_box(icon, icons))
            if image[..., 3].mean() >= 8:
                pixels.append(image)
                names.append((icon_set, name))
    return Icons(np.stack(pixels), names)


def view_box(icon: dict[str, Any], icons: dict[str, Any]) -> tuple[float, float, float, float]:
    """Left, top, width, height: an icon's own, else its set's, else Iconify's defaults."""
    defaults = {"left": 0, "top": 0, "width": 16, "height": 16}
    left, top, width, height = (icon.get(key, icons.get(key, value)) for key, value in defaults.items())
    return left, top, width, height


def rasterise(body: str, box: tuple[float, float, float, float]) -> np.ndarray:
    """An SVG body as (SIZE, SIZE, 4) uint8, RGBA."""
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{" ".join(map(str, box))}" width="{SIZE}" height="{SIZE}">{body}</svg>'
    )
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=SIZE, height=SIZE))
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA").resize((SIZE, SIZE)))


def _save_array(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:  # np.save would append .npy to a temporary file's name
        np.save(file, array)
