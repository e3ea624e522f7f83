"""What is dropped into the page: images, captions, archives; hostile ones too."""

import io
import struct
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sdlora import Error
from sdlora.captioning import Edit
from sdlora.data.folder import read_folder
from ui.datasets import Shelf, captions, receive, receiving
from ui.datasets.receiving import safe_part
from ui.datasets.thumbnails import EMPTY, thumbnail


def png(colour="red", size=(64, 64)):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def huge_png(side=60_000):
    """A small file that says that it is 3.6 billion pixels."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def archive(path, entries, **options):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            file.writestr(name, content, **options)
    return path


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def target(tmp_path):
    folder = tmp_path / "deep" / "target"
    folder.mkdir(parents=True)
    return folder


def test_images_and_captions_are_taken_and_all_else_is_named(tmp_path, target):
    (tmp_path / "Fox.PNG").write_bytes(png())
    (tmp_path / "Fox.txt").write_text("a fox", encoding="utf-8")
    (tmp_path / "notes.md").write_text("x", encoding="utf-8")
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    received = receive([tmp_path / name for name in ("Fox.PNG", "Fox.txt", "notes.md", "broken.jpg")], target)
    assert (received.images, received.texts) == (1, 1)
    assert set(received.left_out) == {"notes.md", "broken.jpg"}
    [example] = read_folder(target).examples
    assert example.caption == "a fox"


def test_an_archive_keeps_its_folders_but_the_one_around_all(tmp_path, target):
    entries = {f"style/{name}": png() for name in ("a.png", "3_cats/b.png", "holdout/c.png")}
    receive([archive(tmp_path / "x.zip", {**entries, "__MACOSX/a.png": b"", "style/.DS_Store": b""})], target)
    assert names(target) == ["3_cats/b.png", "a.png", "holdout/c.png"]


def test_a_folder_that_says_something_is_kept(tmp_path, target):
    receive([archive(tmp_path / "x.zip", {"10_ink/a.png": png()})], target)
    assert names(target) == ["10_ink/a.png"]


@pytest.mark.parametrize(
    "name",
    [
        "../evil.png",
        "../../evil.png",
        "/etc/evil.png",
        "a/../../../evil.png",
        "..\\..\\evil.png",
        "C:\\evil.png",
        "C:evil.png",
        "a/b/../../../../evil.png",
        "con.png",
        "..",
        "a\x00/evil.png",
        "./.././evil.png",
        "\\\\server\\share\\evil.png",
        "nul/evil.png",
    ],
)
def test_no_name_leads_out_of_the_folder(tmp_path, target, name):
    before = names(tmp_path)
    with suppress(Error):
        receive([archive(tmp_path / "x.zip", {name: png(), "ok.png": png()})], target)
    outside = [path for path in names(tmp_path) if not path.startswith("deep/target/")]
    assert outside == sorted([*before, "x.zip"])


@given(st.text(max_size=200))
def test_a_part_of_a_path_is_only_a_name(text):
    part = safe_part(text)
    assert part and len(part) <= 100 and not {"/", "\\", ":", ".", "\0"} & set(part)
    assert Path("folder", part).parent == Path("folder")


def test_a_link_in_an_archive_is_no_link_afterwards(tmp_path, target):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as file:
        entry = zipfile.ZipInfo("a.txt")
        entry.create_system, entry.external_attr = 3, 0o120777 << 16
        file.writestr(entry, "/etc/passwd")
        file.writestr("a.png", png())
    receive([path], target)
    assert not (target / "a.txt").is_symlink()
    assert (target / "a.txt").read_text(encoding="utf-8") == "/etc/passwd"


def test_a_small_file_of_very_many_pixels_is_left_out(tmp_path, target):
    (tmp_path / "bomb.png").write_bytes(huge_png())
    received = receive([tmp_path / "bomb.png"], target)
    assert received.images == 0 and "bomb.png" in received.left_out
    assert names(target) == []


def test_an_entry_that_says_less_than_it_holds_is_left_out(tmp_path, target, monkeypatch):
    monkeypatch.setattr(receiving, "LARGEST_TEXT", 1000)
    receive([archive(tmp_path / "x.zip", {"a.png": png(), "a.txt": "x" * 5000})], target)
    assert names(target) == ["a.png"]


@pytest.mark.parametrize(
    ("limit", "value", "sentence"),
    [("MOST_FILES", 2, "at most 2 are taken"), ("LARGEST_SUM", 200, "these are more than 200 bytes")],
)
def test_too_much_at_once_is_refused(tmp_path, target, monkeypatch, limit, value, sentence):
    monkeypatch.setattr(receiving, limit, value)
    with pytest.raises(Error, match=sentence):
        receive([archive(tmp_path / "x.zip", {f"{n}.png": png() for n in range(3)})], target)


def test_what_is_no_archive_and_what_is_encrypted_is_one_sentence(tmp_path, target):
    (tmp_path / "x.zip").write_bytes(b"PK no")
    with pytest.raises(Error, match=r"x\.zip can't be unpacked"):
        receive([tmp_path / "x.zip"], target)
    content = bytearray(archive(tmp_path / "y.zip", {"a.png": png()}).read_bytes())
    for start in (content.find(b"PK\x03\x04") + 6, content.find(b"PK\x01\x02") + 8):
        content[start] |= 1
    (tmp_path / "y.zip").write_bytes(content)
    with pytest.raises(Error, match="encrypted"):
        receive([tmp_path / "y.zip"], target)


def test_two_images_of_one_name_are_both_there(tmp_path, target):
    for folder, colour in (("a", "red"), ("b", "blue")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.png").write_bytes(png(colour))
    receive([tmp_path / "a" / "x.png", tmp_path / "b" / "x.png"], target)
    assert names(target) == ["x-2.png", "x.png"]


# --- the list of datasets -------------------------------------------------------------------------------------------


@pytest.fixture
def shelf(tmp_path):
    root = tmp_path / "pictures"
    for place in ("cats", "deep/er/dogs"):
        (root / place).mkdir(parents=True)
        (root / place / "1.png").write_bytes(png())
        (root / place / "1.txt").write_text("an animal", encoding="utf-8")
    (root / "empty").mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.png").write_bytes(png())
    (root / "link").symlink_to(outside, target_is_directory=True)
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "settings.toml").write_text('dataset_roots = ["../pictures"]\n', encoding="utf-8")
    return Shelf(workspace)


def test_only_what_is_listed_can_be_chosen(shelf, tmp_path):
    listed = [id_ for id_ in shelf.all() if not id_.startswith("sample:")]
    assert listed == ["pictures", "pictures/cats", "pictures/deep/er", "pictures/deep/er/dogs"]
    for id_ in ("pictures/link", "../outside", str(tmp_path / "outside"), "", "pictures/../outside", "sample:../x"):
        with pytest.raises(Error, match="no longer there"):
            shelf.get(id_)


def test_dropped_images_become_a_dataset_to_which_more_is_added(shelf, tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "a.txt").write_text("a", encoding="utf-8")
    dataset, _ = shelf.receive([tmp_path / "a.png"], None)
    same, _ = shelf.receive([tmp_path / "a.txt"], dataset.id)
    assert same == dataset == shelf.get(dataset.id)
    assert dataset.own and names(dataset.folder) == ["a.png", "a.txt"]
    with pytest.raises(Error, match="no image in what was dropped"):
        shelf.receive([tmp_path / "a.txt"], None)
    assert len([one for one in shelf.all().values() if one.own]) == 1


def test_captions_of_a_listed_folder_are_changed_in_a_copy_alone(shelf, tmp_path):
    listed = shelf.get("pictures/cats")
    copy = shelf.own(listed)
    captions.write_caption(copy, "1.txt", "a  cat ")
    assert captions.change_all(copy, Edit(add_trigger="ink")) == 1
    assert [row.text for row in captions.captioned(copy)] == ["ink, a cat"]
    assert (listed.folder / "1.txt").read_text(encoding="utf-8") == "an animal"
    assert names(listed.folder) == ["1.png", "1.txt"]
    assert captions.take_back(copy) == captions.take_back(copy) == "1 caption is as before."
    assert [row.text for row in captions.captioned(copy)] == ["an animal"]
    assert captions.take_back(copy) == "There is nothing to take back."


@pytest.mark.parametrize("file", ["../1.txt", "/etc/passwd", "2.txt", "", "1.png"])
def test_only_an_images_caption_can_be_written(shelf, file):
    copy = shelf.own(shelf.get("pictures/cats"))
    before = names(copy.folder.parent)
    with pytest.raises(Error, match="no longer there"):
        captions.write_caption(copy, file, "text")
    assert names(copy.folder.parent) == before


def test_a_caption_is_plain_text_of_some_length(shelf):
    copy = shelf.own(shelf.get("pictures/cats"))
    for text in ("x" * 5000, "a\x00b"):
        with pytest.raises(Error, match="plain text"):
            captions.write_caption(copy, "1.txt", text)


def test_a_thumbnail_is_small_and_one_of_no_image_is_empty(tmp_path):
    (tmp_path / "a.png").write_bytes(png(size=(2000, 1000)))
    assert thumbnail(tmp_path / "a.png").startswith("data:image/jpeg;base64,")
    assert len(thumbnail(tmp_path / "a.png")) < 20_000
    (tmp_path / "b.png").write_bytes(b"no image")
    assert thumbnail(tmp_path / "b.png") == thumbnail(tmp_path / "none.png") == EMPTY
