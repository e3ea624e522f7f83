"""inspect, list, card and push, as a user runs them on small files."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from sdlora.adapters import load_adapter
from sdlora.adapters.formats.container import data_hash, file_hash
from sdlora.adapters.formats.header import read_header
from tests.sharing.conftest import use_hub
from tests.sharing.fake_hub import FakeHub


@pytest.fixture
def damaged(library):
    """`ink` with a wrong hash in its header and a key that nobody knows."""
    path = library / "ink.safetensors"
    save_file(load_file(path) | {"what.is.this": torch.ones(2)}, path, {"sshs_model_hash": "0" * 64})
    return path


def test_inspect_by_name(sdlora, workspace, library):
    ended = sdlora("inspect", "ink", *workspace, "--json")
    assert ended.code == 0 and ended.err == ""
    told, path = ended.json, library / "ink.safetensors"
    assert (told["family"], told["geometry"], told["format"], told["kinds"]) == ("sd1", "mini", "kohya", {"LoRA": 128})
    assert told["ranks"] == {"least": 4, "greatest": 4, "most_common": 4}
    assert told["alphas"]["most_common"] == 2 and told["dtypes"] == {"float32": 128}
    assert told["trigger"] == "in ink style" and told["training"]["title"] == "ink"
    assert sum(told["blocks"].values()) == told["modules"] == 128
    assert told["hashes"]["autov2"] == file_hash(path)[:10]
    assert told["hashes"]["short"] == data_hash(path)[:12] and told["hashes"]["stated_is_right"] is True
    squares = sum(float(u.delta(torch.zeros(u.shape)).norm()) ** 2 for u in load_adapter(path).updates.values())
    assert told["strength"]["total"]["delta"] == pytest.approx(squares**0.5, rel=1e-5)


def test_inspect_for_people(sdlora, workspace, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    shown = sdlora("inspect", "ink", *workspace).out
    for text in ("kohya", "LoRA", "sd1, geometry mini", "in ink style", "as the header says", "unet.down_blocks.1"):
        assert text in shown


def test_inspect_tells_what_is_wrong(sdlora, damaged):
    ended = sdlora("inspect", damaged, "--json")
    assert ended.code == 3
    assert ended.json["unknown"] == ["what.is.this"] and ended.json["hashes"]["stated_is_right"] is False
    assert "what.is.this" in ended.err and "A1111 and Forge" in ended.err


def test_inspect_refuses_in_one_sentence(sdlora, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"nonsense, and some more of it")
    ended = sdlora("inspect", tmp_path / "a.safetensors")
    assert ended.code == 1 and ended.out == "" and ended.err.count("\n") == 1
    assert sdlora("inspect", "nobody").code == 1


def test_markup_in_metadata_is_text(sdlora, library):
    path = library / "ink.safetensors"
    save_file(load_file(path), path, {"modelspec.trigger_phrase": "[red]x[/blue] [/]"})
    assert "[red]x[/blue] [/]" in sdlora("inspect", path).out
    assert "[red]x[/blue] [/]" in sdlora("list", library).out


def test_inspect_writes_its_document_to_a_file(sdlora, workspace, tmp_path):
    out = tmp_path / "ink.json"
    assert sdlora("inspect", "ink", *workspace, "--out", out).code == 0
    assert json.loads(out.read_text(encoding="utf-8"))["family"] == "sd1"
    assert sdlora("inspect", "ink", *workspace, "--out", out).code == 1
    assert sdlora("inspect", "ink", *workspace, "--out", out, "--force").code == 0


def test_list(sdlora, workspace, library):
    (library / "deeper").mkdir()
    (library / "oil.safetensors").rename(library / "deeper" / "oil.safetensors")
    ended = sdlora("list", *workspace, "--json")
    assert ended.code == 0
    assert [(file["name"], file["family"], file["trigger"], file["thumbnail"]) for file in ended.json] == [
        ("oil", "sd1", "in oil style", False),
        ("ink", "sd1", "in ink style", False),
    ]
    assert ended.json[1]["stated_hash"] == data_hash(library / "ink.safetensors")
    assert ended.json[1]["hash_is_right"] is None
    assert "unverified" in sdlora("list", library).out


def test_list_checks_hashes_when_asked(sdlora, library, damaged):
    files = {file["name"]: file for file in sdlora("list", library, "--hashes", "--json").json}
    assert files["ink"]["hash_is_right"] is False and files["oil"]["hash_is_right"] is True
    assert files["oil"]["autov2"] == file_hash(library / "oil.safetensors")[:10]


def test_list_of_what_is_no_adapter(sdlora, library):
    (library / "broken.safetensors").write_bytes(b"")
    save_file({"double_blocks.0.img_attn.qkv.lora_A.weight": torch.ones(2, 2)}, library / "flux.safetensors")
    ended = sdlora("list", library, "--json")
    assert ended.code == 3 and "2 of 4 files" in ended.err
    problems = {file["name"]: file["problem"] for file in ended.json}
    assert "cut off" in problems["broken"] and "Flux" in problems["flux"] and problems["ink"] == ""


def test_list_of_nothing(sdlora, tmp_path):
    (tmp_path / "empty").mkdir()
    assert sdlora("list", tmp_path / "empty", "--json").json == []
    assert "no adapter files" in sdlora("list", tmp_path / "empty").out
    assert sdlora("list", tmp_path / "none").code == 1


def test_card(sdlora, library, workspace, tmp_path):
    Image.new("RGB", (64, 64), "red").save(tmp_path / "p.png")
    before = read_header(library / "ink.safetensors")
    ended = sdlora("card", "ink", "--sample", tmp_path / "p.png", "--license", "openrail", *workspace, "--json")
    assert ended.code == 0 and ended.json["thumbnail"] is True
    assert {Path(file).name for file in ended.json["files"]} == {"README.md", "civitai.txt", "ink-1.png"}
    after = read_header(library / "ink.safetensors")
    assert after.metadata["modelspec.thumbnail"].startswith("data:image/jpeg;base64,")
    assert after.entries == before.entries
    assert sdlora("list", library, "--json").json[0]["thumbnail"] is True
    refused = sdlora("card", "ink", *workspace)
    assert refused.code == 1 and "--force" in refused.err


def test_card_draws_on_mini(sdlora, library, workspace):
    ended = sdlora("card", "ink", "--draw", "1", "--base", "mini", *workspace, "--json")
    assert ended.code == 0
    with Image.open(ended.json["samples"][0]) as image:
        assert image.info["parameters"].startswith("in ink style <lora:ink:1>")


def test_card_needs_a_base_to_draw(sdlora, workspace):
    ended = sdlora("card", "ink", "--draw", "1", *workspace)
    assert ended.code == 1 and "--base" in ended.err


def test_push(sdlora, workspace, library, monkeypatch):
    hub = FakeHub()
    use_hub(monkeypatch, hub.address)
    ended = sdlora("push", "ink", "me/ink", *workspace, "--json")
    hub.close()
    assert ended.code == 0 and ended.json["address"] == f"{hub.address}/me/ink"
    assert hub.files == {"ink.safetensors": (library / "ink.safetensors").read_bytes()}
