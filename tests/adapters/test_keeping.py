"""Files that come in, get another name, are deleted and restored."""

import pickle
import struct

import pytest
import torch
from safetensors.torch import save_file

from sdlora.adapters import load_adapter
from sdlora.adapters.keeping import bring_in, rename
from sdlora.adapters.trash import Trash
from sdlora.errors import Error
from tests.adapters.made import kohya_file, random_lora

NAME = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"


@pytest.fixture
def ink(tmp_path):
    folder = tmp_path / "adapters"
    folder.mkdir()
    path = kohya_file(folder / "ink.safetensors", {NAME: random_lora((1280, 768), 2, 2.0, 0)})
    (folder / "ink.json").write_text('{"notes": "x"}', encoding="utf-8")
    (folder / "ink.preview.png").write_bytes(b"picture")
    return path


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_renamed_with_what_is_kept_beside_it(ink):
    assert rename(ink, " new ink ") == ink.with_name("new ink.safetensors")
    assert files(ink.parent) == ["new ink.json", "new ink.preview.png", "new ink.safetensors"]


def test_the_same_name_is_no_change(ink):
    assert rename(ink, "ink") == ink


@pytest.mark.parametrize("name", ["", "../ink", "a/b", "con", "a:b", "<ink>", ".ink", "ink\nx"])
def test_a_name_that_no_file_can_have_is_refused(ink, name):
    before = files(ink.parent)
    with pytest.raises(Error, match="can't be an adapter's name"):
        rename(ink, name)
    assert files(ink.parent) == before


@pytest.mark.parametrize("taken", ["oil.safetensors", "oil.json"])
def test_nothing_is_overwritten(ink, taken):
    ink.with_name(taken).write_bytes(b"there before")
    with pytest.raises(Error, match="already"):
        rename(ink, "oil")
    assert ink.with_name(taken).read_bytes() == b"there before"
    assert ink.is_file()


def test_deleted_and_restored(ink, tmp_path):
    before = {path.name: path.read_bytes() for path in ink.parent.iterdir()}
    trash = Trash(tmp_path / "trash")
    deleted = trash.add(ink)
    assert files(ink.parent) == []
    assert [item.name for item in trash.items()] == ["ink"]
    assert trash.restore(deleted.id) == ink
    assert {path.name: path.read_bytes() for path in ink.parent.iterdir()} == before
    assert trash.items() == []
    with pytest.raises(Error, match="no longer in the trash"):
        trash.restore(deleted.id)


def test_two_of_one_name_are_kept_apart_and_restored_only_where_there_is_room(ink, tmp_path):
    trash, content = Trash(tmp_path / "trash"), ink.read_bytes()
    first = trash.add(ink)
    ink.write_bytes(b"second")
    second = trash.add(ink)
    assert [item.id for item in trash.items()] == [second.id, first.id] or first.when == second.when
    trash.restore(first.id)
    assert ink.read_bytes() == content
    with pytest.raises(Error, match="There is an adapter ink again"):
        trash.restore(second.id)
    assert len(trash.items()) == 1


def test_an_id_of_the_trash_is_never_a_path(ink, tmp_path):
    trash = Trash(tmp_path / "trash")
    trash.add(ink)
    for id in ("..", "../adapters", "", "/"):
        with pytest.raises(Error, match="no longer in the trash"):
            trash.restore(id)


def test_the_trash_is_emptied(ink, tmp_path):
    trash = Trash(tmp_path / "trash")
    trash.add(ink)
    assert trash.empty() == 1
    assert files(tmp_path / "trash") == []


def test_a_file_comes_in_as_it_is(ink, tmp_path):
    folder = tmp_path / "other"
    path = bring_in(ink, "ink.safetensors", folder)
    assert path == folder / "ink.safetensors"
    assert path.read_bytes() == ink.read_bytes()
    with pytest.raises(Error, match="There is an adapter ink already"):
        bring_in(ink, "ink.safetensors", folder)


def test_a_pickled_file_becomes_safetensors(tmp_path):
    upload = tmp_path / "old.pt"
    update = random_lora((1280, 768), 2, 2.0, 0)
    torch.save({f"{NAME}.lora_down.weight": update.down, f"{NAME}.lora_up.weight": update.up}, upload)
    path = bring_in(upload, "old.pt", tmp_path / "adapters")
    assert path.name == "old.safetensors"
    assert len(load_adapter(path).updates) == 1


class Hostile:
    def __reduce__(self):
        return (open, ("owned", "w"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        struct.pack("<Q", 2**60) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 9999) + b"{" * 9999,
        pickle.dumps(Hostile()),
    ],
)
@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_what_is_damaged_or_hostile_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch, content, ending):
    monkeypatch.chdir(tmp_path)
    upload = tmp_path / f"upload.{ending}"
    upload.write_bytes(content)
    with pytest.raises(Error) as refusal:
        bring_in(upload, f"style.{ending}", tmp_path / "adapters")
    assert str(tmp_path / "upload") not in str(refusal.value)
    assert not (tmp_path / "owned").exists()
    assert not (tmp_path / "adapters").exists() or files(tmp_path / "adapters") == []


def test_other_models_and_other_files_are_refused(tmp_path):
    upload = tmp_path / "upload.safetensors"
    save_file({"model.diffusion_model.input_blocks.0.0.weight": torch.ones(320, 4, 3, 3)}, upload)
    with pytest.raises(Error):
        bring_in(upload, "base.safetensors", tmp_path / "adapters")
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"")
    with pytest.raises(Error, match="no adapter file"):
        bring_in(picture, "picture.png", tmp_path / "adapters")


def test_a_huge_file_is_refused_before_it_is_read(tmp_path):
    upload = tmp_path / "upload.safetensors"
    with upload.open("wb") as file:
        file.truncate(5_000_000_000)
    with pytest.raises(Error, match=r"5\.0 GB, more than an adapter"):
        bring_in(upload, "huge.safetensors", tmp_path / "adapters")


@pytest.mark.parametrize("name", ["../ink.safetensors", "con.safetensors", "a\\b.safetensors"])
def test_a_strange_name_is_refused(ink, tmp_path, name):
    with pytest.raises(Error, match="can't be an adapter's name"):
        bring_in(ink, name, tmp_path / "other")
