"""Where the files that come with sdlora lie: beside the package in a checkout, inside it in an installed wheel."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
MINI = PACKAGE / "bases" / "mini"
SAMPLE_ADAPTERS = PACKAGE / "sample_adapters"  # two styles on mini, so that nobody begins with nothing


def shipped(name: str) -> Path:
    """The folder `configs` or `datasets`, in a checkout and in a wheel alike."""
    inside = PACKAGE / name
    return inside if inside.is_dir() else PACKAGE.parent / name
