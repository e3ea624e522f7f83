"""A small adapter for mini in a folder of its own, a picture, and a hub that is none."""

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sdlora.adapters import save_adapter
from tests.adapters.made import ATTENTION, random_adapter
from tests.sharing.fake_hub import FakeHub


@pytest.fixture
def ink(tmp_path, mini):
    """ink.safetensors, made for mini, with trigger words that need quoting wherever they are written."""
    adapter = random_adapter(mini, ATTENTION, name="ink")
    adapter.metadata |= {"modelspec.trigger_phrase": 'in "ink": #1 style', "modelspec.title": "Ink: a 'study'"}
    return save_adapter(adapter, tmp_path / "ink.safetensors")


@pytest.fixture
def picture(tmp_path):
    """A PNG as a generator saves it."""
    chunk = PngInfo()
    chunk.add_text("parameters", "a house, ink <lora:ink:0.8>\nNegative prompt: blurry\nSteps: 20, Seed: 1")
    path = tmp_path / "house.png"
    Image.new("RGB", (600, 400), "navy").save(path, pnginfo=chunk)
    return path


@pytest.fixture
def hub(monkeypatch):
    """A hub on this computer to which the user is logged in."""
    fake = FakeHub()
    use_hub(monkeypatch, fake.address)
    yield fake
    fake.close()


def use_hub(monkeypatch, address, token="hf_of_the_tests"):
    """Make huggingface_hub talk to `address`, and find `token` as the user's login."""
    import huggingface_hub.constants as constants
    from huggingface_hub import hf_api

    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(hf_api.constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # CI sets it
    monkeypatch.setenv("HF_TOKEN", token)
