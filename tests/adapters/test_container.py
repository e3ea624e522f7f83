"""Files that are no adapter: one sentence each, whatever is in them."""

import json

import pytest
import torch

from sdlora.adapters import load_adapter
from sdlora.adapters.formats.container import file_hash
from sdlora.adapters.formats.header import LARGEST_HEADER
from sdlora.errors import Error
from tests.adapters.made import kohya_file, random_lora

ONE = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"


@pytest.fixture
def whole(tmp_path):
    return kohya_file(tmp_path / "a.safetensors", {ONE: random_lora((12, 10), 4, 2.0, 1)}).read_bytes()


def assert_one_sentence(content, path):
    path.write_bytes(content)
    with pytest.raises(Error) as caught:
        load_adapter(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def with_header(header, data=bytes(4)):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def test_a_cut_off_file(whole, tmp_path):
    for length in (0, 1, 7, 8, 50, len(whole) // 2, len(whole) - 1):
        assert "cut off" in assert_one_sentence(whole[:length], tmp_path / "cut.safetensors")


@pytest.mark.parametrize("length", [2**64 - 1, 2**63, LARGEST_HEADER + 1, 1000])
def test_an_absurd_header_length(length, tmp_path):
    message = assert_one_sentence(length.to_bytes(8, "little") + bytes(100), tmp_path / "a.safetensors")
    assert f"{length} bytes" in message


ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    "header",
    [
        b"not json",
        b"[]",
        b"[" * 100_000,
        b"\xff\xfe{}",
        b"{}",
        {"a": 5},
        {"a": ENTRY | {"shape": [2**62]}},
        {"a": ENTRY | {"shape": [-1]}},
        {"a": ENTRY | {"data_offsets": [0, 2**50]}},
        {"a": ENTRY | {"data_offsets": [4, 0]}},
        {"a": ENTRY | {"dtype": "F4", "shape": [8]}},
        {"a": ENTRY | {"dtype": "nonsense"}},
        {"a": ENTRY, "__metadata__": {"n": 1}},
        {"a": ENTRY, "__metadata__": []},
        {"a": ENTRY, "__metadata__": None},
    ],
    ids=lambda header: str(header)[:40],
)
def test_a_header_that_makes_no_sense(header, tmp_path):
    assert_one_sentence(with_header(header), tmp_path / "a.safetensors")


def test_bytes_behind_the_tensors(whole, tmp_path):
    assert_one_sentence(whole + b"more", tmp_path / "a.safetensors")


def test_no_metadata_is_no_mistake(whole, tmp_path):
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length]) | {"__metadata__": None}
    (tmp_path / "a.safetensors").write_bytes(with_header(header, whole[8 + length :]))
    assert load_adapter(tmp_path / "a.safetensors").metadata.keys() == {"sshs_model_hash"}


@pytest.mark.parametrize("ending", [".pt", ".ckpt", ".bin", ".PT"])
def test_pickles_are_not_opened(ending, tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / f"a{ending}")
    with pytest.raises(Error, match=r"can carry code: .* `sdlora convert`"):
        load_adapter(tmp_path / f"a{ending}")


def test_a_pickle_under_another_name(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "a.pt")
    assert_one_sentence((tmp_path / "a.pt").read_bytes(), tmp_path / "a.safetensors")


def test_no_such_file(tmp_path):
    with pytest.raises(Error, match="there is no adapter file"):
        load_adapter(tmp_path / "none.safetensors")
    with pytest.raises(Error, match=r"is a folder without adapter_config\.json"):
        load_adapter(tmp_path)


def test_file_hash_is_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert file_hash(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
