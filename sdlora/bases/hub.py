"""Models of the Hugging Face hub, fetched into its own cache, as diffusers folders. What is cached needs no network."""

import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffusers import DiffusionPipeline
from huggingface_hub import snapshot_download

from sdlora.errors import Error

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def download(hub_id: str, revision: str | None) -> Path:
    """The folder of a hub model with the files that a base needs: full-precision weights, else the fp16 variant.

    Raises `Error` when the model can be neither found nor reached.
    """
    folder = _download(hub_id, revision, variant=None)
    return folder if any((folder / "unet").glob("*.[sb]*")) else _download(hub_id, revision, variant="fp16")


def _download(hub_id: str, revision: str | None, variant: str | None) -> Path:
    # A component that is passed (even as None) is not fetched: training and previews need neither of these.
    unwanted = {"safety_checker": None, "feature_extractor": None}
    with _reaching(
        hub_id, "give a checkpoint file (.safetensors or .ckpt), a diffusers folder on this computer, or mini"
    ):
        return Path(DiffusionPipeline.download(hub_id, revision=revision, variant=variant, **unwanted))


def download_vae(hub_id: str) -> Path:
    """The folder of a hub model, with its VAE alone: at its top or in `vae/`. Raises `Error` as `download` does."""
    files = ("config.json", "diffusion_pytorch_model.safetensors")
    with _reaching(hub_id, "give a VAE's file or folder on this computer"):
        return Path(snapshot_download(hub_id, allow_patterns=[*files, *(f"vae/{name}" for name in files)]))


def download_checker(hub_id: str, revision: str) -> Path:
    """The folder of a hub model, with its safety checker alone. Raises `Error` as `download` does."""
    files = ["safety_checker/config.json", "safety_checker/model.safetensors", "feature_extractor/*"]
    with _reaching(hub_id, "draw with --no-safety"):
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=files))


@contextmanager
def _reaching(hub_id: str, instead: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the hub client raises a dozen kinds, for no network, no such model, no permission
        cause = textwrap.shorten(str(error) or type(error).__name__, 120, placeholder=" …")
        raise Error(
            f"The model {hub_id} could not be fetched from the hub ({cause}); without the hub, {instead}."
        ) from error
