"""doctor and caption, as a user runs them on a small folder."""

import pytest
from PIL import Image

from tests.captioning.tiny import tiny_blip
from tests.data.planted import Planter, hashes


@pytest.fixture
def at(tmp_path):
    planter = Planter(tmp_path / "images")
    for number in range(6):
        planter.picture(f"fine-{number}.png")
    return planter


def test_doctor_of_a_sound_folder(sdlora, at):
    ended = sdlora("doctor", at.root)
    assert ended.code == 0 and "6 to train on" in " ".join(ended.out.split())


def test_doctor_takes_the_sample_s_trigger(sdlora):
    ended = sdlora("doctor", "sample:clay/train", "--json")
    assert ended.code == 0 and ended.json["captions"]["with_trigger"] == 24 == len(ended.json["images"])


def test_doctor_as_json_with_sheet_and_copy(sdlora, at, tmp_path):
    at.write("empty.png", b"")
    before = hashes(at.root)
    words = ("--sheet", tmp_path / "sheet.png", "--fix", tmp_path / "out", "--batch-size", 2, "--steps", 9)
    ended = sdlora("doctor", at.root, "--json", *words)
    assert ended.code == 3 and "1 error" in ended.err
    said = ended.json
    assert said["counts"]["error"] == 1 and said["files"]["empty.png"].startswith("left out")
    assert said["findings"][0]["file"] == "empty.png" and said["fixed"]["images"] == 6
    assert Image.open(said["sheets"][0]).width > 0 and len(list((tmp_path / "out").glob("*.png"))) == 6
    assert hashes(at.root) == before


def test_doctor_prints_findings_once_for_many_files(sdlora, at, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    for number in range(12):
        at.write(f"empty-{number:02}.png", b"")
    ended = sdlora("doctor", at.root)
    lines = [line for line in ended.out.splitlines() if line.startswith("error")]
    assert len(lines) == 1 and "and 4 more" in lines[0]


def test_doctor_of_no_folder(sdlora, tmp_path):
    ended = sdlora("doctor", tmp_path / "nowhere")
    assert ended.code == 1 and ended.err.count("\n") == 1


def test_caption_with_a_model_and_back(sdlora, at, tmp_path):
    model = tiny_blip(tmp_path / "blip")
    at.picture("new.png", None)
    before = hashes(at.root)
    ended = sdlora("caption", at.root, "--model", model, "--trigger", "clay style", "--json", "--device", "cpu")
    assert ended.code == 0, ended.err
    assert ended.json["unreviewed"] == ["new.txt"] and ended.json["changed"]["new.txt"]["after"].startswith(
        "clay style, "
    )
    assert "not reviewed: new.txt" in sdlora("caption", at.root).out
    assert sdlora("caption", at.root, "--reviewed").out.startswith("1 caption")
    assert "not reviewed" not in sdlora("caption", at.root).out
    assert sdlora("caption", at.root, "--model", model).out.startswith("Every image has a caption")
    assert sdlora("caption", at.root, "--undo").code == 0
    assert hashes(at.root) == before


def test_caption_changes_all_at_once(sdlora, at):
    before = hashes(at.root)
    words = ("--replace", "thing=cup", "--remove-trigger", "clay style", "--add-trigger", "zwx")
    shown = sdlora("caption", at.root, *words, "--dry-run")
    assert "6 captions would be written" in shown.out and hashes(at.root) == before
    assert sdlora("caption", at.root, *words).code == 0
    assert (at.root / "fine-0.txt").read_text(encoding="utf-8") == "zwx, 1 a cup\n"
    assert sdlora("caption", at.root, "--tags", "--json").json["tags"]["zwx"] == 6
    assert sdlora("caption", at.root, "--undo", "all").code == 0
    assert hashes(at.root) == before


def test_caption_refuses_in_a_sentence(sdlora, at):
    assert "one thing at a time" in sdlora("caption", at.root, "--tags", "--prefix", "x").err
    assert "OLD=NEW" in sdlora("caption", at.root, "--replace", "x").err
    assert "comes with sdlora" in sdlora("caption", "sample:clay/train", "--prefix", "x").err
    at.picture("new.png", None)
    assert "could not be loaded" in sdlora("caption", at.root, "--model", at.root).err
    at.write("odd.png", b"no")
    ended = sdlora("caption", at.root, "--undo", "all")
    assert ended.code == 0 and "nothing to take back" in ended.out
