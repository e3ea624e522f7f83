"""The two adapters that come with sdlora: `python -m recipes.sample_adapters WORKSPACE`.

Trained on the sample datasets with the shipped preset as `sdlora train` does it, made smaller, with a picture each.
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from sdlora import Mixer, TrainConfig, load_adapter, load_base, save_adapter, train
from sdlora.algebra import resize
from sdlora.resources import SAMPLE_ADAPTERS
from sdlora.sharing.thumbnail import embed_thumbnail

RANKS = {"clay": 2, "ink": 3}  # the smallest at which the pictures look as with the whole adapter
LICENCE = "MIT"
CREDIT = {
    "clay": "Fluent Emoji, Microsoft Corporation, https://github.com/microsoft/fluentui-emoji",
    "ink": "Fluent Emoji High Contrast, Microsoft Corporation, https://github.com/microsoft/fluentui-emoji",
}
PROMPT, SEED = "red apple", 1


def make(style: str, workspace: Path) -> Path:
    """Train, unless the workspace has it, and write the small file."""
    name = f"sample-{style}"
    trained = workspace / "adapters" / f"{name}.safetensors"
    if not trained.is_file():
        train(TrainConfig(name=name, images=f"sample:{style}", base="mini", workspace=str(workspace)))
    small, error = resize(load_adapter(trained), rank=RANKS[style])
    told = {
        "modelspec.title": name,
        "modelspec.license": LICENCE,
        "modelspec.description": f"Trained on {CREDIT[style]}",
    }
    small.metadata.update(told)
    target = SAMPLE_ADAPTERS / trained.name
    save_adapter(small, target)
    _add_picture(target)
    print(json.dumps({"file": target.name, "bytes": target.stat().st_size, "relative_error": error.relative}))
    return target


def _add_picture(adapter: Path) -> None:
    found = load_adapter(adapter)
    mixer = Mixer(load_base("mini"))
    mixer.set({str(adapter): 1.0})
    [drawn] = mixer.generate(f"{PROMPT}, {found.trigger}", seed=SEED)
    with TemporaryDirectory() as folder:
        embed_thumbnail(adapter, drawn.save(Path(folder) / "picture.png"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path)
    workspace = parser.parse_args().workspace
    for chosen in RANKS:
        make(chosen, workspace)
