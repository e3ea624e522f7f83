"""What headers alone tell must be what the whole files tell."""

import math

import pytest
import torch
from safetensors.torch import save_file

from sdlora.adapters import load_adapter, tables
from sdlora.adapters.summary import summarise


def kohya(row, name):
    """A LoRA of rank 1 for a module, as Kohya's scripts write it."""
    down, up = (1, *row.shape[1:]), (row.shape[0], 1, *(1 for _ in row.shape[2:]))
    return {f"{name}.lora_down.weight": torch.ones(down), f"{name}.lora_up.weight": torch.ones(up)}


def peft(row, name):
    down, up = (1, *row.shape[1:]), (row.shape[0], 1, *(1 for _ in row.shape[2:]))
    return {f"{row.path}.lora_A.weight": torch.ones(down), f"{row.path}.lora_B.weight": torch.ones(up)}


def loha(row, name):
    sides = {"a": (row.shape[0], 1), "b": (1, math.prod(row.shape[1:]))}
    return {f"{name}.hada_w{i}_{side}": torch.ones(shape) for i in (1, 2) for side, shape in sides.items()}


PARTS = {
    "attention": lambda path: ".attn" in path and "unet" in path,
    "one block": lambda path: path.startswith("unet.mid_block.attentions"),
    "text encoder": lambda path: path.startswith("text_encoder."),
}


@pytest.mark.parametrize("make", [kohya, peft, loha], ids=lambda make: make.__name__)
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("naming", [0, -1], ids=["first name", "last name"])
@pytest.mark.parametrize("family", tables.FAMILIES)
def test_the_family_is_that_of_the_whole_file(family, naming, part, make, tmp_path):
    tensors = {}
    for row in tables.rows(family):
        if len(row.shape) > 1 and PARTS[part](row.path) and row.names:
            tensors |= make(row, row.names[naming])
    save_file(tensors, tmp_path / "a.safetensors")
    summary = summarise(tmp_path / "a.safetensors")
    assert summary.problem == ""
    assert summary.family in (load_adapter(tmp_path / "a.safetensors").family, None)
    if "attn2" in "".join(tensors):
        assert summary.family == family


def test_the_real_file_is_told_by_its_numbers(tmp_path):
    """cloneofsimo's files name no modules; `unet:6` reads the prompt."""
    sizes = {"unet:6": (320, 768), "unet:0": (320, 320), "text_encoder:0": (768, 768)}
    tensors = {}
    for name, (outputs, inputs) in sizes.items():
        tensors |= {f"{name}:up": torch.ones(outputs, 4), f"{name}:down": torch.ones(4, inputs)}
    save_file(tensors, tmp_path / "a.safetensors")
    assert summarise(tmp_path / "a.safetensors").family == "sd1"


@pytest.mark.parametrize(
    ("tensors", "family"),
    [
        ({"emb_params": (4, 768)}, "sd1"),
        ({"emb_params": (4, 1024)}, "sd2"),
        ({"<s1>": (768,)}, "sd1"),
        ({"clip_l": (4, 768), "clip_g": (4, 1280)}, "sdxl"),
    ],
)
def test_embeddings(tensors, family, tmp_path):
    save_file({key: torch.ones(shape) for key, shape in tensors.items()}, tmp_path / "a.safetensors")
    summary = summarise(tmp_path / "a.safetensors")
    assert (summary.family, summary.problem) == (family, "")


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("transformer.transformer_blocks.1.attn.to_q.lora_A.weight", "it is an adapter for"),
        ("lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight", "Flux"),
        ("model.diffusion_model.input_blocks.1.0.in_layers.0.weight", "a base"),
        ("some.weight", "no adapter"),
    ],
)
def test_other_files_are_named(key, problem, tmp_path):
    save_file({key: torch.ones(4, 4)}, tmp_path / "a.safetensors")
    summary = summarise(tmp_path / "a.safetensors")
    assert problem in summary.problem and summary.family is None


def test_the_header_alone_is_read(tmp_path):
    """The tensors are a hole of which nothing was ever written."""
    header = b'{"lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight":'
    header += b'{"dtype":"F32","shape":[4,768],"data_offsets":[0,12288]}}'
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    assert summarise(tmp_path / "a.safetensors").family == "sd1"
