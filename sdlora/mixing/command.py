"""What `sdlora generate` does: from words on a command line to picture files."""

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from ..adapters.library import find, parse_weight
from ..bases import load_base
from ..devices import pick_device
from ..errors import Error
from ..pictures import FORMATS
from ..precision import fastest_dtype
from .generated import GeneratedImage
from .mixer import Mixer


def generate_files(
    prompt: str,
    adapters: Sequence[str],
    out: Path | None,
    *,
    base: str,
    negative: str,
    seed: int | None,
    steps: int | None,
    guidance: float | None,
    sampler: str | None,
    size: str | None,
    count: int,
    device: str,
    prediction_type: str | None,
    workspace: str,
) -> tuple[list[Path], list[GeneratedImage]]:
    """Draw and save; returns the files and the pictures. Raises `Error` for what a user can mend."""
    library = Path(workspace) / "adapters"
    # found before the base is loaded: a wrong name should not cost half a minute
    mix = {str(find(name, library)): weight for name, weight in map(parse_weight, adapters)}
    shape = parse_size(size)
    where = pick_device(device)
    loaded = load_base(base, device=where, dtype=fastest_dtype(where), prediction_type=prediction_type)
    mixer = Mixer(loaded)
    mixer.set(mix)
    pictures = mixer.generate(
        prompt, negative, seed, steps=steps, guidance=guidance, sampler=sampler, size=shape, count=count
    )
    paths = [p.save(_target(out, Path(workspace), p, len(pictures))) for p in pictures]
    return paths, pictures


def parse_size(text: str | None) -> tuple[int, int] | None:
    """`512` or `512x768` -> (width, height)."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)(?:[x×](\d+))?", text.strip().lower())
    if match is None:
        raise Error(f"--size {text!r}: give a side (512) or WIDTHxHEIGHT (512x768)")
    width = int(match[1])
    return width, int(match[2] or width)


def _target(out: Path | None, workspace: Path, picture: GeneratedImage, pictures: int) -> Path:
    """The file as asked for, numbered by seed where there are several; else a new one in a folder."""
    seed = picture.parameters.seed
    if out is not None and out.suffix.lower() in FORMATS:
        return out if pictures == 1 else out.with_stem(f"{out.stem}-{seed}")
    folder = out or workspace / "outputs"
    return folder / f"{datetime.now():%Y%m%d-%H%M%S-%f}-{seed}.png"
