"""Files that LyCORIS itself saves, through its wrapper around a network and through kohya's scripts."""

import copy

import pytest
import torch
from lycoris import LycorisNetwork, create_lycoris
from safetensors.torch import load_file, save_file

from sdlora.adapters import load_adapter
from tests.bases.written import narrow

PRESET = {
    "enable_conv": True,
    "target_module": ["UNetMidBlock2DCrossAttn", "Downsample2D", "CLIPAttention", "CLIPMLP"],
    "target_name": ["conv_in", "time_embedding.*"],
}
ALGORITHMS = {
    "locon": ({}, "LoRA"),
    "locon dora": ({"algo": "locon", "dora_wd": True}, "DoRA"),
    "loha": ({}, "LoHa"),
    "lokr": ({"factor": 4}, "LoKr"),
    "full": ({}, "full"),
    "glora": ({}, "GLoRA"),
    "ia3": ({}, "IA³"),
    "diag-oft": ({}, "OFT"),
    "boft": ({}, "BOFT"),
}


def wrapped(network, algorithm):
    """LyCORIS' own network around a copy, with random numbers. (BOFT's blocks of 6 fit all narrow widths.)"""
    options, kind = ALGORITHMS[algorithm]
    LycorisNetwork.apply_preset(PRESET)
    rank = 6 if algorithm == "boft" else 4
    made = create_lycoris(copy.deepcopy(network), 1.0, rank, 2, preset="full", **{"algo": algorithm, **options})
    made.apply_to()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for lora in made.loras:
            for parameter in lora.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return made, kind


@pytest.fixture(autouse=True)
def targets(monkeypatch):
    """Its presets are attributes of its class, and "full" takes every transformer and resnet."""
    for name in ("TARGET_REPLACE_MODULE", "TARGET_REPLACE_NAME", "ENABLE_CONV", "MODULE_ALGO_MAP", "NAME_ALGO_MAP"):
        monkeypatch.setattr(LycorisNetwork, name, copy.copy(getattr(LycorisNetwork, name)))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_wrappers_files(algorithm, tmp_path):
    made, kind = wrapped(narrow("sd1").unet, algorithm)
    made.save_weights(tmp_path / "a.safetensors", torch.float32, {})
    read = load_adapter(tmp_path / "a.safetensors")
    assert read.report.complete and read.report.format == "lycoris"
    expected = {lora.lora_name: lora for lora in made.loras}
    named = {f"lycoris_{path.removeprefix('unet.').replace('.', '_')}": path for path in read.updates}
    assert named.keys() == expected.keys() and len(named) > 20
    assert kind in {update.kind for update in read.updates.values()}


@pytest.mark.parametrize("prefix", ["lycoris", "lycoris_text_encoder", "lycoris_te"])
def test_a_wrapped_text_encoder(prefix, tmp_path):
    made, _ = wrapped(narrow("sd1").text_encoders[0], "locon")
    made.save_weights(tmp_path / "a.safetensors", torch.float32, {})
    tensors = {
        key.replace("lycoris", prefix, 1): tensor for key, tensor in load_file(tmp_path / "a.safetensors").items()
    }
    save_file(tensors, tmp_path / "a.safetensors")
    read = load_adapter(tmp_path / "a.safetensors")
    assert len(read.updates) == 72 and read.report.complete
    assert all(path.startswith("text_encoder.text_model.encoder.layers.") for path in read.updates)
