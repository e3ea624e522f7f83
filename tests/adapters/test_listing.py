"""Lists of folders and what is remembered of them."""

import json
import os

import pytest
import torch
from safetensors.torch import save_file

from sdlora.adapters.formats.header import write_metadata
from sdlora.adapters.listing import list_folder
from sdlora.errors import Error

KEY = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight"


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "b", "deep/c"):
        path = tmp_path / "files" / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({KEY: torch.ones(4, 768)}, path, {"modelspec.trigger_phrase": f"word {path.stem}"})
    return tmp_path / "files"


@pytest.fixture
def memory(tmp_path):
    return tmp_path / "cache" / "list.json"


def triggers(folder, memory):
    return {path.stem: file.summary.trigger for path, file in list_folder(folder, memory=memory).items()}


def test_what_is_remembered_is_not_read_again(folder, memory):
    first = list_folder(folder, memory=memory)
    path = next(iter(first))
    facts = path.stat()
    path.write_bytes(bytes(facts.st_size))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # of the same size and time: taken for the same
    assert list_folder(folder, memory=memory) == first


def test_a_change_is_seen(folder, memory):
    assert triggers(folder, memory) == {"a": "word a", "b": "word b", "c": "word c"}
    write_metadata(folder / "a.safetensors", {"modelspec.trigger_phrase": "another, longer one"})
    (folder / "b.safetensors").unlink()
    assert triggers(folder, memory) == {"a": "another, longer one", "c": "word c"}
    assert "b.safetensors" not in memory.read_text(encoding="utf-8")


def test_folders_share_a_memory(folder, memory, tmp_path):
    list_folder(folder / "deep", memory=memory)
    before = json.loads(memory.read_text(encoding="utf-8"))["files"]
    (tmp_path / "other").mkdir()
    (folder / "a.safetensors").rename(tmp_path / "other" / "a.safetensors")
    list_folder(tmp_path / "other", memory=memory)
    files = json.loads(memory.read_text(encoding="utf-8"))["files"]
    assert len(files) == 2 and files.items() >= before.items()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 1, "files": {"x": {"size": 1}}}', '{"version": 1}'])
def test_a_damaged_memory_is_forgotten(content, folder, memory):
    memory.parent.mkdir()
    memory.write_text(content, encoding="utf-8")
    assert len(triggers(folder, memory)) == 3
    assert json.loads(memory.read_text(encoding="utf-8"))["files"].keys() == {
        str(path) for path in folder.rglob("*.safetensors")
    }


def test_a_memory_that_can_not_be_written_costs_time_only(folder, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert len(triggers(folder, tmp_path / "file" / "list.json")) == 3


def test_hashes_are_remembered_until_the_file_changes(folder, memory):
    path = folder / "a.safetensors"
    first = list_folder(folder, hashes=True, memory=memory)[path]
    assert first.autov2 and list_folder(folder, memory=memory)[path] == first
    write_metadata(path, {"more": "text", "sshs_model_hash": first.tensor_hash})
    assert list_folder(folder, memory=memory)[path].autov2 == ""
    again = list_folder(folder, hashes=True, memory=memory)[path]
    assert again.tensor_hash == first.tensor_hash and again.autov2 != first.autov2 and again.hash_is_right


def test_no_such_folder(tmp_path):
    with pytest.raises(Error, match="no folder"):
        list_folder(tmp_path / "none")
