"""A library of three random adapters for mini, of different targets, ranks and alphas."""

import pytest
import torch

from sdlora.adapters import save_adapter
from tests.adapters.made import ATTENTION, FEED_FORWARD, TEXT_ATTENTION, random_adapter

CONVOLUTIONS = r"unet\.(down_blocks\.0|mid_block)\..*\.(conv1|proj_in|proj_out|downsamplers\.0\.conv)"


@pytest.fixture(scope="session")
def library(mini, tmp_path_factory):
    folder = tmp_path_factory.mktemp("library")
    made = {
        "clay": random_adapter(mini, f"{ATTENTION}|{TEXT_ATTENTION}", rank=8, alpha=4.0, seed=1),
        "ink": random_adapter(mini, f"{ATTENTION}|{FEED_FORWARD}", rank=4, alpha=4.0, seed=2),
        "blob": random_adapter(mini, f"{CONVOLUTIONS}|{TEXT_ATTENTION}", rank=2, alpha=1.0, seed=3),
    }
    for name, adapter in made.items():
        save_adapter(adapter, folder / f"{name}.safetensors", dtype="fp32")
    return folder


@pytest.fixture
def mixer(mini, library):
    """A mixer on the shared mini; what it puts there is taken off again."""
    from sdlora.mixing import Mixer

    mixer = Mixer(mini, library)
    yield mixer
    mixer.clear()


@pytest.fixture(params=[torch.float32, torch.bfloat16, torch.float16], ids=str)
def dtype(request):
    return request.param
