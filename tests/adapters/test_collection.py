"""Adapters of several folders: ids, searching, what is read again."""

import json
import os

import pytest
import torch
from safetensors.torch import save_file

from sdlora.adapters import library
from sdlora.adapters.collection import Collection
from sdlora.adapters.sidecar import Sidecar, companions, preview_file, read_sidecar, write_sidecar
from sdlora.errors import Error

KEY = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight"


def adapter(path, trigger="", width=768):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({KEY: torch.ones(4, width)}, path, {"modelspec.trigger_phrase": trigger})
    return path


@pytest.fixture
def collection(tmp_path):
    adapter(tmp_path / "own" / "ink.safetensors", "ink drawing")
    adapter(tmp_path / "own" / "sub" / "clay.safetensors", "clay figure", 2048)
    adapter(tmp_path / "Lora" / "ink.safetensors", "another ink")
    adapter(tmp_path / "Lora" / "oil.safetensors", "oil painting", 1024)
    collection = Collection(tmp_path / "own", [tmp_path / "Lora"], tmp_path / "memory.json")
    collection.refresh()
    return collection


def names(items):
    return [item.id for item in items]


def test_each_has_an_id_and_the_first_folder_goes_first(collection, tmp_path):
    assert collection.names() == ["ink", "clay", "ink (Lora)", "oil"]
    assert collection.path("ink") == tmp_path / "own" / "ink.safetensors"
    assert collection.path("ink (Lora)") == tmp_path / "Lora" / "ink.safetensors"
    assert [item.own for item in collection.items()] == [True, True, False, False]


@pytest.mark.parametrize("id", ["../own/ink", "sub/clay", "/etc/passwd", "", "ink.safetensors", "nothing"])
def test_an_id_is_never_followed_as_a_path(collection, id):
    with pytest.raises(Error, match="There is no adapter"):
        collection.path(id)


def test_a_near_id_is_named(collection):
    with pytest.raises(Error, match="did you mean clay"):
        collection.item("cley")


def test_a_file_that_is_gone_is_a_sentence(collection, tmp_path):
    (tmp_path / "Lora" / "oil.safetensors").unlink()
    with pytest.raises(Error, match="press Refresh"):
        collection.path("oil")


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ({"text": "INK"}, ["ink", "ink (Lora)"]),
        ({"text": "drawing ink"}, ["ink"]),
        ({"text": "lora"}, ["ink (Lora)", "oil"]),
        ({"text": "nowhere"}, []),
        ({"family": "sdxl"}, ["clay"]),
        ({"family": "sd2", "own": True}, []),
        ({"own": False}, ["ink (Lora)", "oil"]),
        ({"order": "largest"}, ["clay", "oil", "ink", "ink (Lora)"]),
    ],
)
def test_searching(collection, search, found):
    assert names(collection.search(**search)) == found


def test_the_newest_first(collection, tmp_path):
    os.utime(tmp_path / "Lora" / "oil.safetensors", (2_000_000_000, 2_000_000_000))
    collection.refresh()
    assert names(collection.search(order="newest"))[0] == "oil"


def test_notes_are_searched_and_read_anew_when_they_change(collection, tmp_path):
    path = collection.path("clay")
    write_sidecar(path, Sidecar(activation="modelled", notes="for grandmother", weight=0.7))
    collection.refresh()
    assert names(collection.search("grandmother")) == ["clay"]
    assert collection.item("clay").trigger == "modelled"
    write_sidecar(path, Sidecar(notes="for nobody"))
    collection.refresh()
    assert collection.search("grandmother") == []
    assert collection.item("clay").trigger == "clay figure"


def test_what_comes_and_goes_is_seen(collection, tmp_path):
    adapter(tmp_path / "own" / "new.safetensors", "new")
    (tmp_path / "own" / "ink.safetensors").unlink()
    collection.refresh()
    assert collection.names() == ["new", "clay", "ink", "oil"]


def test_a_folder_within_another_is_shown_once(tmp_path):
    adapter(tmp_path / "own" / "sub" / "ink.safetensors")
    collection = Collection(tmp_path / "own", [tmp_path / "own" / "sub"], tmp_path / "memory.json")
    collection.refresh()
    assert collection.names() == ["ink"]


def test_links_are_followed_within_the_folders_alone(tmp_path):
    adapter(tmp_path / "elsewhere" / "secret.safetensors")
    real = adapter(tmp_path / "Lora" / "oil.safetensors")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "secret.safetensors").symlink_to(tmp_path / "elsewhere" / "secret.safetensors")
    (tmp_path / "own" / "linked.safetensors").symlink_to(real)
    collection = Collection(tmp_path / "own", [tmp_path / "Lora"], tmp_path / "memory.json")
    collection.refresh()
    assert collection.names() == ["linked", "oil"]


def test_a_collection_is_a_library(collection, tmp_path):
    assert library.names(collection) == collection.names()
    assert library.named("oil", collection) == tmp_path / "Lora" / "oil.safetensors"
    assert library.find("ink (Lora)", collection) == tmp_path / "Lora" / "ink.safetensors"
    with pytest.raises(Error, match="in the library: did you mean oil"):
        library.named("oill", collection)


def test_folders_that_are_not_there_are_empty(tmp_path):
    collection = Collection(tmp_path / "none", [tmp_path / "neither"], tmp_path / "memory.json")
    collection.refresh()
    assert collection.items() == []


def test_notes_are_a1111s_and_keep_what_others_wrote(tmp_path):
    path = tmp_path / "a.b.safetensors"
    (tmp_path / "a.b.json").write_text('{"sd version": "SD1", "preferred weight": 0, "notes": "x"}', encoding="utf-8")
    assert read_sidecar(path) == Sidecar(notes="x")
    write_sidecar(path, Sidecar(activation="ink ü", weight=0.8))
    assert read_sidecar(path) == Sidecar(activation="ink ü", weight=0.8)
    written = json.loads((tmp_path / "a.b.json").read_text(encoding="utf-8"))
    assert written["sd version"] == "SD1"
    assert written["preferred weight"] == 0.8
    assert written["activation text"] == "ink ü"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "nonsense", '{"preferred weight": "heavy"}', '{"preferred weight": 1e999, "notes": 7}', "[" * 9999],
)
def test_damaged_notes_are_none(tmp_path, text):
    path = tmp_path / "ink.safetensors"
    path.with_suffix(".json").write_text(text, encoding="utf-8")
    assert read_sidecar(path) == Sidecar()


def test_what_is_no_notes_is_not_overwritten(tmp_path):
    path = tmp_path / "ink.safetensors"
    path.with_suffix(".json").write_text("[1, 2]", encoding="utf-8")
    with pytest.raises(Error, match="move it elsewhere"):
        write_sidecar(path, Sidecar(notes="x"))
    assert path.with_suffix(".json").read_text(encoding="utf-8") == "[1, 2]"


@pytest.mark.parametrize("sidecar", [Sidecar(weight=99), Sidecar(weight=float("nan")), Sidecar(notes="x" * 30_000)])
def test_notes_that_cannot_be_are_refused(tmp_path, sidecar):
    with pytest.raises(Error):
        write_sidecar(tmp_path / "ink.safetensors", sidecar)
    assert list(tmp_path.iterdir()) == []


def test_pictures_beside_a_file(tmp_path):
    path = tmp_path / "a.b.safetensors"
    assert preview_file(path) is None
    for name in ("a.b.png", "a.b.preview.png", "a.b.json", "a.png"):
        (tmp_path / name).write_bytes(b"")
    assert preview_file(path) == tmp_path / "a.b.preview.png"
    assert {file.name for file in companions(path)} == {"a.b.png", "a.b.preview.png", "a.b.json"}
