"""diffusers folders: what is written is what is loaded, and what is broken is said."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from sdlora.bases import load_base
from sdlora.bases.base import FAMILIES
from sdlora.errors import Error
from tests.bases.written import narrow, write_folder, write_json


def assert_same_networks(one, other):
    networks = [(base.unet, base.vae, *base.text_encoders) for base in (one, other)]
    for mine, theirs in zip(*networks, strict=True):
        expected, found = mine.state_dict(), theirs.state_dict()
        assert expected.keys() == found.keys()
        for key, tensor in expected.items():
            assert torch.equal(tensor, found[key]), key


@pytest.mark.parametrize("family", FAMILIES)
def test_round_trip(family, tmp_path):
    written = narrow(family)
    base = load_base(write_folder(written, tmp_path))
    assert (base.family, base.geometry, base.path) == (family, "custom", str(tmp_path))
    assert_same_networks(written, base)
    assert base.modules().keys() == written.modules().keys()
    for tokenizer, original in zip(base.tokenizers, written.tokenizers, strict=True):
        text = tokenizer("a photo of a cat", padding="max_length")
        assert text.input_ids == original("a photo of a cat", padding="max_length").input_ids


@pytest.fixture(scope="module")
def sd1():
    return narrow("sd1")


@pytest.fixture
def folder(sd1, tmp_path):
    return write_folder(sd1, tmp_path / "model")


def test_fp16_variant(sd1, tmp_path):
    folder = write_folder(sd1, tmp_path, variant="fp16")
    base = load_base(folder)
    assert_same_networks(sd1, base)
    assert base.model_hash and base.weights_files[0].name == "diffusion_pytorch_model.fp16.safetensors"


@pytest.mark.parametrize("with_text_model", [True, False])
def test_text_encoder_keys_with_and_without_text_model(sd1, folder, with_text_model):
    file = folder / "text_encoder" / "model.safetensors"
    bare = {key.removeprefix("text_model."): tensor for key, tensor in load_file(file).items()}
    prefix = "text_model." if with_text_model else ""
    save_file({prefix + key: tensor for key, tensor in bare.items()}, file, {"format": "pt"})
    assert_same_networks(sd1, load_base(folder))


def test_old_vae_attention_names(sd1, folder):
    """The VAE of SD 1.5's own repository still has the names of diffusers 0.10."""
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = load_file(file)
    for new, name in old.items():
        weights = {key.replace(f"attentions.0.{new}.", f"attentions.0.{name}."): t for key, t in weights.items()}
    save_file(weights, file, {"format": "pt"})
    assert_same_networks(sd1, load_base(folder))


def test_v_prediction_from_the_scheduler_and_overridden(sd1, folder):
    config = sd1.scheduler_config | {"prediction_type": "v_prediction"}
    write_json(folder / "scheduler" / "scheduler_config.json", config)
    base = load_base(folder)
    assert base.prediction_type == base.scheduler_config["prediction_type"] == "v_prediction"
    assert "scheduler" in base.prediction_reason
    asked = load_base(folder, prediction_type="epsilon")
    assert asked.prediction_type == asked.scheduler_config["prediction_type"] == "epsilon"
    assert "asked" in asked.prediction_reason


@pytest.mark.parametrize(
    "name",
    [
        "model_index.json",
        "unet/config.json",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "scheduler/scheduler_config.json",
    ],
)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(Error) as error:
        load_base(folder)
    assert name.split("/")[0] in str(error.value) and str(folder) in str(error.value)


@pytest.mark.parametrize("component", ["unet", "vae", "text_encoder"])
@pytest.mark.parametrize("change", ["missing", "unexpected"])
def test_weights_that_do_not_fit_are_named(folder, component, change):
    (file,) = (folder / component).glob("*.safetensors")
    weights = load_file(file)
    name = sorted(weights)[-1]
    weights[f"{name}_more" if change == "unexpected" else "spare"] = weights[name].clone()
    if change == "missing":
        del weights[name], weights["spare"]
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(Error, match=r"does not know|lacks") as error:
        load_base(folder)
    assert name.removeprefix("text_model.") in str(error.value) and component in str(error.value)


def test_a_torn_file_is_one_sentence(folder):
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(Error, match="unet"):
        load_base(folder)


@pytest.mark.parametrize(("channels", "name"), [(9, "inpainting"), (8, "editing")])
def test_other_tasks_are_refused_by_name(folder, channels, name):
    config = json.loads((folder / "unet" / "config.json").read_text(encoding="utf-8"))
    write_json(folder / "unet" / "config.json", config | {"in_channels": channels})
    with pytest.raises(Error, match=name):
        load_base(folder)


def test_other_models_are_refused_by_name(folder, tmp_path):
    write_json(tmp_path / "model_index.json", {"_class_name": "FluxPipeline", "transformer": ["diffusers", "Flux"]})
    with pytest.raises(Error, match="FluxPipeline"):
        load_base(tmp_path)
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    refiner = index | {"text_encoder": [None, None], "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"]}
    write_json(folder / "model_index.json", refiner)
    with pytest.raises(Error, match="refiner"):
        load_base(folder)


def test_a_third_prediction_type_is_refused(sd1, folder):
    write_json(folder / "scheduler" / "scheduler_config.json", sd1.scheduler_config | {"prediction_type": "sample"})
    with pytest.raises(Error, match="'sample'"):
        load_base(folder)
