"""Which captioner a name means."""

from pathlib import Path
from typing import Protocol

import torch
from PIL import Image

from ..errors import Error
from .subjects import Wanted

NAMES = {
    "blip": "Salesforce/blip-image-captioning-base",
    "florence-2": "florence-community/Florence-2-base",
    "smolvlm": "HuggingFaceTB/SmolVLM-256M-Instruct",
    "wd14": "SmilingWolf/wd-vit-tagger-v3",
}
_TAGGER = "tagger"  # in the hub ids of all of WD14's kind


class Captioner(Protocol):
    """Anything that can say what is in a picture."""

    def describe(self, image: Image.Image, wanted: Wanted) -> str:
        """A caption without the trigger in front."""
        ...


def load_captioner(name: str, *, device: torch.device | str = "cpu", threshold: float = 0.35) -> Captioner:
    """`blip`, `florence-2`, `smolvlm`, `wd14`, a folder, or a hub id. Raises `Error` where it can't be loaded."""
    from .language_model import LanguageModel
    from .tagger import MODEL, Tagger

    name = NAMES.get(name.lower(), name)
    folder = Path(name).expanduser()
    if (folder / MODEL).is_file():
        return Tagger.load(folder, threshold)
    if not folder.is_dir() and _TAGGER in name.lower():
        return Tagger.load(_download(name), threshold)
    return LanguageModel.load(str(folder) if folder.is_dir() else name, device)


def _download(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download

    from .tagger import MODEL, TAGS

    try:
        return Path(snapshot_download(hub_id, allow_patterns=[MODEL, TAGS]))
    except Exception as problem:  # the hub client raises a dozen kinds
        reason = " ".join(str(problem).split())[:120]
        raise Error(
            f"The tagger {hub_id} could not be fetched ({reason}): give its folder, with {MODEL} and {TAGS}."
        ) from problem
