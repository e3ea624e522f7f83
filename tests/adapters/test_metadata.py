"""What a file says about itself, read back as other tools read it."""

import hashlib
import json
from datetime import datetime

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sdlora.adapters import Adapter, load_adapter, save_adapter
from sdlora.adapters.formats.metadata import TrainingFacts, describe
from tests.adapters.made import random_lora

PATH = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
# FORMATS.md, section 6
KOHYA = """output_name base_model_version v2 network_module network_dim network_alpha network_args sd_model_name
new_sd_model_hash clip_skip training_started_at tag_frequency dataset_dirs learning_rate unet_lr text_encoder_lr steps
seed optimizer"""
MODELSPEC = "sai_model_spec architecture implementation title date hash_sha256 resolution prediction_type"


def facts(**other):
    values = {
        "name": "clay",
        "family": "sd1",
        "prediction_type": "epsilon",
        "base_name": "mini",
        "base_hash": "ab" * 32,
        "resolution": 128,
        "rank": 8,
        "alpha": 4.0,
        "targets": ["attention", "text_attention"],
        "steps": 100,
        "epochs": 4.17,
        "seed": 1,
        "batch_size": 2,
        "gradient_accumulation": 1,
        "learning_rate": 1e-4,
        "text_encoder_learning_rate": 5e-5,
        "optimizer": "torch.optim.AdamW",
        "schedule": "cosine",
        "precision": "fp32",
        "started_at": 1700000000.0,
        "trigger": "clay style",
        "version": "0.1.0",
        "folders": {"größe": (2, 12)},
        "tags": {"größe": {"fox": 3, "蓝色": 1}},
    }
    return TrainingFacts(**(values | other))


@pytest.fixture
def file(tmp_path):
    adapter = Adapter("clay", {PATH: random_lora((12, 10), 4, 2.0, 1)}, metadata=describe(facts()), family="sd1")
    return save_adapter(adapter, tmp_path / "clay.safetensors")


def read_metadata(file):
    with safe_open(file, "pt") as opened:
        return opened.metadata()


def sha256_behind_the_header(file):
    content = file.read_bytes()
    return hashlib.sha256(content[8 + int.from_bytes(content[:8], "little") :]).hexdigest()


def test_everything_that_others_look_for_is_there(file):
    metadata = read_metadata(file)
    wanted = {f"ss_{key}" for key in KOHYA.split()} | {f"modelspec.{key}" for key in MODELSPEC.split()}
    assert wanted <= metadata.keys()
    assert (metadata["ss_network_dim"], metadata["ss_network_alpha"], metadata["ss_v2"]) == ("8", "4.0", "False")
    assert metadata["ss_network_module"] == "networks.lora"
    assert json.loads(metadata["ss_tag_frequency"]) == {"größe": {"fox": 3, "蓝色": 1}}
    assert json.loads(metadata["ss_dataset_dirs"]) == {"größe": {"n_repeats": 2, "img_count": 12}}
    assert json.loads(metadata["ss_network_args"])["targets"] == ["attention", "text_attention"]
    assert datetime.fromisoformat(metadata["modelspec.date"]).timestamp() == 1700000000
    assert metadata["modelspec.trigger_phrase"] == load_adapter(file).trigger == "clay style"


def test_hashes_are_of_the_bytes_behind_the_header(file):
    metadata = read_metadata(file)
    assert metadata["sshs_model_hash"] == sha256_behind_the_header(file)
    assert metadata["modelspec.hash_sha256"] == f"0x{sha256_behind_the_header(file)}"


def test_hashes_are_made_anew_when_the_numbers_change(file, tmp_path):
    adapter = load_adapter(file)
    adapter.metadata["sshs_legacy_hash"] = "12345678"
    again = save_adapter(adapter, tmp_path / "again.safetensors", dtype="fp32")
    metadata = read_metadata(again)
    assert metadata["sshs_model_hash"] == sha256_behind_the_header(again) != sha256_behind_the_header(file)
    assert metadata["modelspec.hash_sha256"] == f"0x{sha256_behind_the_header(again)}"
    assert "sshs_legacy_hash" not in metadata
    assert metadata["ss_tag_frequency"] == read_metadata(file)["ss_tag_frequency"]


def test_a_file_without_a_hash_gets_its_own(file, tmp_path):
    bare = tmp_path / "bare.safetensors"
    save_file(load_file(file), bare)
    assert load_adapter(bare).metadata == {"sshs_model_hash": sha256_behind_the_header(bare)}


def test_a_file_that_says_nothing_of_modelspec_says_nothing_of_its_hash(tmp_path):
    adapter = Adapter("a", {PATH: random_lora((12, 10), 4, 2.0, 1)}, metadata={"modelspec.hash_sha256": "0x00"})
    metadata = read_metadata(save_adapter(adapter, tmp_path / "a.safetensors"))
    assert "modelspec.hash_sha256" not in metadata and metadata["sshs_model_hash"]


@pytest.mark.parametrize(
    ("family", "prediction", "version", "architecture", "v2", "predicts"),
    [
        ("sd1", "epsilon", "sd_v1", "stable-diffusion-v1/lora", "False", "epsilon"),
        ("sd1", "v_prediction", "sd_v1", "stable-diffusion-v1/lora", "False", "v"),
        ("sd2", "epsilon", "sd_v2", "stable-diffusion-v2-512/lora", "True", "epsilon"),
        ("sd2", "v_prediction", "sd_v2_v", "stable-diffusion-v2-768-v/lora", "True", "v"),
        ("sdxl", "epsilon", "sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora", "False", "epsilon"),
    ],
)
def test_each_familys_words(family, prediction, version, architecture, v2, predicts):
    metadata = describe(facts(family=family, prediction_type=prediction))
    assert metadata["ss_base_model_version"] == version and metadata["ss_v2"] == v2
    assert metadata["modelspec.architecture"] == architecture and metadata["modelspec.prediction_type"] == predicts


def test_all_values_are_strings_and_a_trigger_is_named_only_where_there_is_one():
    metadata = describe(facts(trigger=None))
    assert all(isinstance(value, str) for value in metadata.values())
    assert "modelspec.trigger_phrase" not in metadata


def test_the_hash_does_not_depend_on_the_metadata(tmp_path):
    updates = {PATH: random_lora((12, 10), 4, 2.0, 1)}
    files = [
        save_adapter(Adapter("a", updates, metadata=metadata), tmp_path / f"{i}.safetensors")
        for i, metadata in enumerate([{}, describe(facts())])
    ]
    assert len({read_metadata(file)["sshs_model_hash"] for file in files}) == 1
