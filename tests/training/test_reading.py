"""A training's base is read in the precision that it will run in: the same bits in half the memory."""

import pytest
import torch

from sdlora.bases import load_base
from sdlora.training.config import TrainConfig
from sdlora.training.reading import read_base
from tests.bases.written import narrow, write_single_file

CPU = torch.device("cpu")


def config(**changes):
    return TrainConfig(**{"name": "a", "images": "sample:ink", "precision": "bf16"} | changes)


def dtypes(*networks):
    return {p.dtype for network in networks for p in network.parameters()}


@pytest.fixture(scope="module", params=["mini", "sdxl"])
def place(request, tmp_path_factory):
    """A folder, and a single file."""
    if request.param == "mini":
        return "mini"
    return str(write_single_file(narrow("sdxl"), tmp_path_factory.mktemp("base") / "sdxl.safetensors"))


def test_the_weights_are_what_a_cast_would_make_of_them(place):
    found, whole = read_base(config(base=place), CPU), load_base(place)
    assert dtypes(found.unet, *found.text_encoders) == {torch.bfloat16} and dtypes(found.vae) == {torch.float32}
    for ours, theirs in zip((found.unet, *found.text_encoders), (whole.unet, *whole.text_encoders), strict=True):
        expected = torch.nn.Module.to(theirs, torch.bfloat16).state_dict()
        assert all(torch.equal(weight, expected[key]) for key, weight in ours.state_dict().items())
    assert all(torch.equal(weight, whole.vae.state_dict()[key]) for key, weight in found.vae.state_dict().items())


@pytest.mark.parametrize("changes", [{"merged": ["ink:1"]}, {"precision": "auto", "preset": "own.toml"}])
def test_weights_that_are_still_changed_or_whose_precision_is_not_known_are_read_whole(changes):
    base = read_base(config(**changes), CPU)
    assert dtypes(base.unet, *base.text_encoders, base.vae) == {torch.float32}
