"""What there is to choose from, as A1111 lists it."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from sdlora.adapters.formats.header import glance
from sdlora.errors import Error
from sdlora.sampling.samplers import SAMPLERS

from ..engine import Engine

# What A1111 has and sdlora has not, in the form of A1111's answers when nothing is installed.
EMPTY: dict[str, Any] = {
    "upscalers": [],
    "latent-upscale-modes": [],
    "sd-vae": [],
    "embeddings": {"loaded": {}, "skipped": {}},
    "scripts": {"txt2img": [], "img2img": []},
    "prompt-styles": [],
    "hypernetworks": [],
    "face-restorers": [],
    "realesrgan-models": [],
}
AUTOMATIC = "automatic"


def samplers() -> list[dict[str, Any]]:
    """Each by the name that it has in the pages; `Karras` may stand there or be given as `scheduler`."""
    return [
        {"name": name, "aliases": [], "options": {"scheduler": sampler.schedule.lower()} if sampler.schedule else {}}
        for name, sampler in SAMPLERS.items()
    ]


def schedulers() -> list[dict[str, Any]]:
    """The sampler's own, and those that samplers are listed with."""
    labels = ["Automatic", *sorted({sampler.schedule for sampler in SAMPLERS.values() if sampler.schedule})]
    return [
        {"name": label.lower(), "label": label, "aliases": None, "default_rho": -1.0, "need_inner_model": False}
        for label in labels
    ]


def adapters(engine: Engine) -> list[dict[str, Any]]:
    """The library, with what the files' headers say. `path` is the file's name in its folder."""
    return [_adapter(name, engine.library.path(name)) for name in engine.adapters()]


def _adapter(name: str, file: Path) -> dict[str, Any]:
    try:
        facts = file.stat()
        metadata = _metadata(file, facts.st_mtime_ns, facts.st_size)
    except (Error, OSError):
        metadata = {}
    return {"name": name, "alias": name, "path": file.name, "metadata": metadata}


@lru_cache(maxsize=4096)
def _metadata(file: Path, _modified: int, _size: int) -> dict[str, str]:
    return glance(file)[1]
