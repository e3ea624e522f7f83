"""Whole checkpoints on disk: every weight is found, in every layout."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from sdlora.bases import load_base
from sdlora.bases.base import FAMILIES
from sdlora.bases.whole import open_whole, weights_of
from sdlora.errors import Error
from tests.bases.written import narrow, original_weights, write_folder, write_single_file


def named_values(base):
    """Every weight and bias of UNet and text encoders by module path and name."""
    return {f"{p}.{n}": t for p, m in base.modules().items() for n, t in m.named_parameters(recurse=False)}


def assert_same(checkpoint, base):
    values = named_values(base)
    assert {name for name in checkpoint.places if not name.endswith("position_ids")} == values.keys()
    for name, value in values.items():
        assert checkpoint.shapes[name] == tuple(value.shape), name
        assert torch.equal(checkpoint.read(name), value), name
    assert checkpoint.family == base.family


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.mark.parametrize("suffix", ["safetensors", "ckpt"])
def test_one_file_in_the_original_layout(family, suffix, tmp_path):
    file = write_single_file(narrow(family), tmp_path / f"model.{suffix}")
    assert_same(open_whole(file), narrow(family))


def test_a_folder(family, tmp_path):
    assert_same(open_whole(write_folder(narrow(family), tmp_path / "model")), narrow(family))


def test_a_sharded_folder_of_a_variant(tmp_path):
    folder = write_folder(narrow("sd1"), tmp_path / "model", variant="fp16")
    whole = folder / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    weights = load_file(whole)
    whole.unlink()
    for number in range(2):
        part = dict(list(weights.items())[number::2])
        save_file(part, whole.with_name(f"diffusion_pytorch_model.fp16-0000{number + 1}-of-00002.safetensors"))
    assert_same(open_whole(folder), narrow("sd1"))


def test_a_text_encoder_without_text_model(tmp_path):
    weights = {k.replace("r.text_model.", "r."): t.contiguous() for k, t in original_weights(narrow("sd1")).items()}
    save_file(weights, tmp_path / "bare.safetensors")
    assert_same(open_whole(tmp_path / "bare.safetensors"), narrow("sd1"))


def test_weights_of_a_base_and_of_its_files(mini):
    loaded, stored = weights_of(mini), weights_of("mini")
    assert set(stored) == loaded.keys() and len(stored) == len(loaded)
    path = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    assert path in stored and "unet.nowhere" not in stored
    assert torch.equal(stored[path].float(), loaded[path])


def test_a_unet_that_nobody_knows(tmp_path):
    more = {"model.diffusion_model.extra.weight": torch.zeros(2)}
    file = write_single_file(narrow("sd1"), tmp_path / "model.safetensors", more)
    with pytest.raises(Error, match="1 weights are unknown"):
        open_whole(file)
    with pytest.raises(Error, match="There is no model"):
        open_whole(tmp_path / "nowhere.safetensors")


def test_both_ways_of_reading_agree(family, tmp_path):
    """What `load_base` puts into the networks is what lies at the places."""
    file = write_single_file(narrow(family), tmp_path / "model.safetensors")
    base = load_base(file, prediction_type="epsilon")
    assert_same(open_whole(base), base)
