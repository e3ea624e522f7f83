"""The embedded base, whatever its weights are today."""

import torch
from safetensors.torch import load_file

from sdlora.bases import load_base
from sdlora.bases.geometry import meta_modules
from sdlora.resources import MINI


def test_every_parameter_equals_the_file():
    base = load_base("mini")
    networks = {"unet": base.unet, "vae": base.vae, "text_encoder": base.text_encoders[0]}
    for folder, network in networks.items():
        (file,) = (MINI / folder).glob("*.safetensors")
        stored = {key.removeprefix("text_model."): tensor for key, tensor in load_file(file).items()}
        loaded = network.state_dict()
        assert loaded.keys() == stored.keys()
        for key, tensor in stored.items():
            assert torch.equal(loaded[key], tensor.to(torch.float32)), f"{folder} {key}"


def test_it_is_a_narrow_sd1():
    base = load_base()
    assert (base.path, base.family, base.geometry, base.prediction_type) == ("mini", "sd1", "mini", "epsilon")
    assert base.resolution == 128
    assert base.dtype == torch.float32 and base.device == torch.device("cpu")
    assert len(base.short_hash) == 10 and base.model_hash.startswith(base.short_hash)


def test_nothing_in_it_trains():
    base = load_base("mini")
    for network in (base.unet, base.vae, *base.text_encoders):
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())


def test_its_module_paths_are_those_of_sd15():
    paths = load_base("mini").modules().keys()
    unet = {path for path in paths if path.startswith("unet.")}
    text = {path for path in paths if path.startswith("text_encoder.")}
    full = meta_modules("sd1").keys()
    assert unet == {path for path in full if path.startswith("unet.")}
    assert text < {path for path in full if path.startswith("text_encoder.")}  # 4 layers instead of 12
    assert unet | text == paths


def test_dtype_is_what_was_asked_for():
    base = load_base("mini", dtype=torch.bfloat16)
    assert {base.unet.dtype, base.vae.dtype, base.text_encoders[0].dtype} == {torch.bfloat16}
    base.to(dtype=torch.float32)
    assert {base.unet.dtype, base.vae.dtype, base.text_encoders[0].dtype} == {torch.float32}
