"""Captions written, changed and taken back: nothing is lost, whatever was in the folder."""

import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdlora.captioning import Edit, captions_of, describe_folder, edit_folder, open_journal, tag_frequencies
from sdlora.captioning.journal import PLACE, Journal
from sdlora.captioning.subjects import Wanted
from sdlora.data.folder import read_folder
from sdlora.errors import Error
from tests.data.planted import Planter, hashes


class Echo:
    """A captioner that says how large the image is."""

    def describe(self, image, wanted):
        return f"a picture {image.width} wide" if image.width != 13 else ""


@pytest.fixture
def at(tmp_path):
    """One image of each kind: captioned, empty, none, from metadata, from a folder's name, not UTF-8, broken."""
    planter = Planter(tmp_path / "images")
    planter.picture("said.png", "a thing\nin two lines")
    planter.picture("empty.png", "")
    planter.picture("none.png", None)
    planter.picture("told.png", None)
    planter.write("metadata.jsonl", b'{"file_name": "told.png", "text": "from metadata"}')
    planter.picture("10_clay/folder.png", None)
    planter.picture("latin.png", None)
    planter.write("latin.txt", "Tür".encode("latin-1"))
    planter.write("broken.png", b"no picture")
    planter.picture("mute.png", None, size=(13, 13))
    return planter


def texts(at):
    return {p.name: p.read_text(encoding="utf-8") for p in at.root.rglob("*.txt") if p.name != "latin.txt"}


def test_only_empty_captions_are_filled(at):
    before = texts(at)
    done = describe_folder(at.root, Echo(), "echo", wanted=Wanted(trigger="clay style"))
    wide = "clay style, a picture 160 wide\n"
    assert texts(at) == before | {"empty.txt": wide, "none.txt": wide, "folder.txt": wide}
    assert done.skipped.keys() == {"latin.png", "broken.png", "mute.png"}
    assert done.unreviewed == ["10_clay/folder.txt", "empty.txt", "none.txt"]
    assert {e.path.name: e.caption for e in read_folder(at.root).examples}["told.png"] == "from metadata"


def test_overwrite_takes_all_that_can_be_read_and_undo_brings_every_byte_back(at):
    before = hashes(at.root)
    done = describe_folder(at.root, Echo(), "echo", overwrite=True)
    assert done.skipped.keys() == {"broken.png", "mute.png"} and len(done.changed) == 6
    edit_folder(at.root, Edit(suffix=", clay style"))
    journal = open_journal(at.root)
    assert len(journal.undo(everything=True)[0]) == 6
    assert hashes(at.root) == before


def test_undo_takes_back_one_command_at_a_time(at):
    start = hashes(at.root)
    describe_folder(at.root, Echo(), "echo")
    described = texts(at)
    edit_folder(at.root, Edit(replace=[("picture", "painting")]))
    assert "a painting 160 wide\n" in texts(at).values()
    open_journal(at.root).undo(everything=False)
    assert texts(at) == described
    open_journal(at.root).undo(everything=False)
    assert hashes(at.root) == start and open_journal(at.root).undo(everything=False) == ([], [])


def test_what_was_changed_by_hand_since_is_left_alone(at):
    describe_folder(at.root, Echo(), "echo")
    at.write("none.txt", b"my own words")
    restored, kept = open_journal(at.root).undo(everything=True)
    assert kept == ["none.txt"] and "empty.txt" in restored
    assert (at.root / "none.txt").read_bytes() == b"my own words"


def test_dry_run_writes_nothing(at):
    before = hashes(at.root)
    done = describe_folder(at.root, Echo(), "echo", dry_run=True)
    assert len(done.changed) == 3 and len(edit_folder(at.root, Edit(prefix="x "), dry_run=True).changed) == 2
    assert hashes(at.root) == before


def test_reviewed_by_hand_or_by_word_and_not_by_a_bulk_edit(at):
    describe_folder(at.root, Echo(), "echo")
    assert edit_folder(at.root, Edit(prefix="so: ")).unreviewed == ["10_clay/folder.txt", "empty.txt", "none.txt"]
    at.write("none.txt", b"corrected by hand")
    assert Journal(at.root).unreviewed() == ["10_clay/folder.txt", "empty.txt"]
    edit_folder(at.root, Edit(suffix="!"))
    assert Journal(at.root).unreviewed() == ["10_clay/folder.txt", "empty.txt"]
    Journal(at.root).review(["empty.txt"])
    assert Journal(at.root).unreviewed() == ["10_clay/folder.txt"]
    open_journal(at.root).undo(everything=False)
    assert Journal(at.root).unreviewed() == ["10_clay/folder.txt"]


def test_a_journal_that_was_cut_off_can_still_be_undone(at):
    before = hashes(at.root)
    describe_folder(at.root, Echo(), "echo")
    with (at.root / PLACE).open("a", encoding="utf-8") as file:
        file.write('{"operation": 2, "file": "said.t')  # killed here, before it touched said.txt
    edit_folder(at.root, Edit(suffix="!"))
    assert all(isinstance(json.loads(line), dict) for line in (at.root / PLACE).read_text("utf-8").splitlines()[-3:])
    open_journal(at.root).undo(everything=True)
    assert hashes(at.root) == before


def test_killed_between_the_journal_and_the_file(at):
    before = hashes(at.root)
    describe_folder(at.root, Echo(), "echo")
    (at.root / "none.txt").unlink()  # as if the file had never been written
    assert open_journal(at.root).undo(everything=True)[1] == []
    assert hashes(at.root) == before


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6))
def test_whatever_is_done_undo_brings_it_back(tmp_path_factory, seed):
    chance, at = random.Random(seed), Planter(tmp_path_factory.mktemp("any") / "images")
    for number in range(4):
        at.picture(f"{number}.png", None)
        if chance.random() < 0.7:
            at.write(f"{number}.txt", bytes(chance.choices([*b" ,a\n\r", 0xC3, 0xBC, 0xFF], k=chance.randrange(8))))
    before = hashes(at.root)
    for _ in range(chance.randrange(1, 5)):
        if chance.random() < 0.5:
            describe_folder(at.root, Echo(), "echo", overwrite=chance.random() < 0.5)
        else:
            edit_folder(at.root, Edit(prefix="p ", replace=[("a", chance.choice(["", "b", "ü"]))]))
        if chance.random() < 0.3:
            open_journal(at.root).undo(everything=False)
    open_journal(at.root).undo(everything=True)
    assert hashes(at.root) == before


def test_edits_in_their_order():
    edit = Edit([("grey", "gray")], remove_trigger="old style", prefix="photo of ", suffix=", day", add_trigger="zwx")
    assert edit("old style, a grey cat") == "zwx, photo of a gray cat, day"
    assert edit("") == "" and Edit(remove_trigger="clay style")("clay style") == ""
    assert Edit(add_trigger="clay style")("a\nb, Clay Style") == "clay style, a\nb, Clay Style"


def test_tags_counted(at):
    for number, text in enumerate(["red, blue", "red", "blue\nred , green"]):
        at.write(f"{number}.txt", text.encode())
        at.picture(f"{number}.png", None)
    assert [tag_frequencies(at.root)[tag] for tag in ("red", "blue", "green")] == [3, 2, 1]
    assert next(iter(tag_frequencies(at.root))) == "red"


def test_two_images_of_one_caption_file_are_described_once(at):
    at.picture("none.jpg", None)
    assert [c.file.name for c in captions_of(at.root)].count("none.txt") == 1


def test_samples_stay_as_they_are():
    with pytest.raises(Error, match="comes with sdlora"):
        edit_folder("sample:clay/train", Edit(prefix="x"))
    assert tag_frequencies("sample:clay/train")["clay style"] == 24
