"""How far the download of a base from the hub is."""

from pathlib import Path

from huggingface_hub.constants import HF_HUB_CACHE


def downloaded(name: str, cache: Path = Path(HF_HUB_CACHE)) -> int:
    """Bytes of a hub id that lie in the hub's cache, unfinished files included; 0 for what is no hub id."""
    if name.count("/") != 1:
        return 0
    blobs = cache / f"models--{name.replace('/', '--')}" / "blobs"
    try:
        return sum(file.stat().st_size for file in blobs.iterdir())
    except OSError:  # there is no such folder, or a file got its final name meanwhile
        return 0
