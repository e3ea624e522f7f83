"""Learned tokens, in every kind of file that holds them."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from sdlora.adapters import Adapter, load_adapter, save_adapter
from sdlora.adapters.formats import convert
from sdlora.errors import Error
from tests.adapters.made import numbers, random_lora

PATH = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k"
KOHYA = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"


def read(tmp_path, tensors, name="cat.safetensors"):
    save_file(tensors, tmp_path / name)
    return load_adapter(tmp_path / name)


@pytest.mark.parametrize(
    ("tensors", "first", "second", "family"),
    [
        ({"emb_params": numbers((3, 768), 1)}, {"cat": 3}, {}, "sd1"),
        ({"emb_params": numbers((3, 1024), 1)}, {"cat": 3}, {}, "sd2"),
        ({"<kitty>": numbers((768,), 1)}, {"<kitty>": 1}, {}, "sd1"),
        ({"kitty": numbers((2, 768), 1), "doggy": numbers((768,), 1)}, {"kitty": 2, "doggy": 1}, {}, "sd1"),
        ({"clip_l": numbers((2, 768), 1), "clip_g": numbers((2, 1280), 2)}, {"cat": 2}, {"cat": 2}, "sdxl"),
        (
            {"text_encoders_0": numbers((2, 768), 1), "text_encoders_1": numbers((2, 1280), 2)},
            {"cat": 2},
            {"cat": 2},
            "sdxl",
        ),
        ({"mini": numbers((160,), 1)}, {"mini": 1}, {}, None),
    ],
    ids=["emb_params", "SD 2", "angled", "two", "SDXL", "SDXL by number", "mini"],
)
def test_alone(tensors, first, second, family, tmp_path):
    adapter = read(tmp_path, tensors)
    assert {token: len(vectors) for token, vectors in adapter.tokens.items()} == first
    assert {token: len(vectors) for token, vectors in adapter.tokens_2.items()} == second
    assert (adapter.updates, adapter.family, adapter.report.format) == ({}, family, "textual inversion")
    assert adapter.report.complete and adapter.geometry is None
    assert all(v.ndim == 2 and v.shape[1] in (160, 768, 1024) for v in adapter.tokens.values())


@pytest.mark.parametrize("sdxl", [False, True])
def test_bundled(sdxl, tmp_path):
    lora = random_lora((1280, 2048 if sdxl else 768), 1, 1.0, 1)
    tensors = {f"{KOHYA}.{part}": tensor for part, tensor in lora.tensors().items()}
    if sdxl:
        tensors |= {"bundle_emb.my.cat.clip_l": numbers((2, 768), 1), "bundle_emb.my.cat.clip_g": numbers((2, 1280), 2)}
    else:
        tensors["bundle_emb.my.cat.string_to_param.*"] = numbers((2, 768), 1)
    adapter = read(tmp_path, tensors)
    assert adapter.updates.keys() == {PATH} and adapter.tokens.keys() == {"my.cat"} and adapter.report.complete
    assert adapter.tokens_2.keys() == ({"my.cat"} if sdxl else set())
    assert adapter.family == ("sdxl" if sdxl else "sd1")
    written = load_file(save_adapter(adapter, tmp_path / "again.safetensors", dtype=None))
    for key, tensor in tensors.items():
        if key.startswith("bundle_emb"):
            assert torch.equal(written[key], tensor)


@pytest.mark.parametrize("sdxl", [False, True])
def test_tokens_alone_are_written_as_others_read_them(sdxl, tmp_path):
    tokens, second = {"cat": numbers((2, 768), 1)}, {"cat": numbers((2, 1280), 2)} if sdxl else {}
    adapter = Adapter("cat", {}, tokens, tokens_2=second)
    written = load_file(save_adapter(adapter, tmp_path / "cat.safetensors", dtype=None))
    assert written.keys() == ({"clip_l", "clip_g"} if sdxl else {"cat"})
    again = load_adapter(tmp_path / "cat.safetensors")
    assert torch.equal(again.tokens["cat"], tokens["cat"]) and again.tokens_2.keys() == second.keys()


def test_several_sdxl_tokens_need_an_adapter_around_them(tmp_path):
    tokens = {"a": numbers((1, 768), 1), "b": numbers((1, 768), 1)}
    with pytest.raises(Error, match="would hold several"):
        save_adapter(Adapter("cat", {}, tokens, tokens_2={"a": numbers((1, 1280), 2)}), tmp_path / "cat.safetensors")


@pytest.mark.parametrize(
    "bad", [torch.full((768,), float("nan")), torch.ones(768, dtype=torch.int32), torch.ones(2, 2, 768)]
)
def test_a_token_that_makes_no_sense_is_left_out_by_name(bad, tmp_path):
    adapter = read(tmp_path, {"<good>": torch.ones(768), "<bad>": bad})
    assert adapter.tokens.keys() == {"<good>"} and "'<bad>' was left out" in adapter.report.warnings[0]
    with pytest.raises(Error, match="'<bad>' was left out"):
        read(tmp_path, {"<bad>": bad})


@pytest.mark.parametrize(
    "tensors", [{"a.b": torch.ones(768)}, {"cat": torch.ones(77)}, {"a": torch.ones(768), "b": torch.ones(5)}]
)
def test_other_tensors_are_no_tokens(tensors, tmp_path):
    with pytest.raises(Error, match="holds no adapter"):
        read(tmp_path, tensors)


def parameters():
    """The original textual inversion's own dictionary."""
    return torch.nn.ParameterDict({"*": torch.nn.Parameter(numbers((2, 768), 1))})


@pytest.mark.parametrize(
    ("content", "token"),
    [
        (
            {"string_to_token": {"*": 265}, "string_to_param": {"*": numbers((2, 768), 1)}, "name": "kitty", "step": 5},
            "kitty",
        ),
        ({"string_to_token": {"*": torch.tensor(265)}, "string_to_param": parameters()}, "file"),
        ({"<kitty>": numbers((2, 768), 1)}, "<kitty>"),
        ({"clip_l": numbers((2, 768), 1), "clip_g": numbers((2, 1280), 1)}, "file"),
    ],
    ids=["A1111", "original", "diffusers", "SDXL"],
)
def test_pickled_ones_are_converted(content, token, tmp_path):
    torch.save(content, tmp_path / "file.pt")
    with pytest.raises(Error, match="sdlora convert"):
        load_adapter(tmp_path / "file.pt")
    adapter = convert(tmp_path / "file.pt", tmp_path / f"{token.strip('<>')}.safetensors")
    assert torch.equal(adapter.tokens[token], numbers((2, 768), 1))
    again = load_adapter(tmp_path / f"{token.strip('<>')}.safetensors")
    assert [vectors.tolist() for vectors in again.tokens.values()] == [numbers((2, 768), 1).tolist()]
    if "step" in content:
        assert again.metadata["step"] == "5"
