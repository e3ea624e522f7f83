"""A model of the Hugging Face hub, fetched into its own cache, as a diffusers folder."""

import textwrap
from pathlib import Path

from diffusers import DiffusionPipeline

from sdlora.errors import Error


def download(hub_id: str, revision: str | None) -> Path:
    """The folder of a hub model with the files that a base needs: full-precision weights, else the fp16 variant.

    What is cached is used without a network. Raises `Error` when the model can be neither found nor reached.
    """
    folder = _download(hub_id, revision, variant=None)
    return folder if any((folder / "unet").glob("*.[sb]*")) else _download(hub_id, revision, variant="fp16")


def _download(hub_id: str, revision: str | None, variant: str | None) -> Path:
    try:
        # A component that is passed (even as None) is not fetched: training and previews need neither of these.
        unwanted = {"safety_checker": None, "feature_extractor": None}
        return Path(DiffusionPipeline.download(hub_id, revision=revision, variant=variant, **unwanted))
    except Exception as error:  # the hub client raises a dozen kinds, for no network, no such model, no permission
        cause = textwrap.shorten(str(error) or type(error).__name__, 120, placeholder=" …")
        raise Error(
            f"The model {hub_id} could not be fetched from the hub ({cause}); without the hub, give a "
            "checkpoint file (.safetensors or .ckpt), a diffusers folder on this computer, or mini."
        ) from error
