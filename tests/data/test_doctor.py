"""What the doctor says of single faults, and that it reads a folder as training does."""

import json
import os
import stat
from pathlib import Path

import pytest
from PIL import Image

from sdlora.data.doctor import clean, examine, write_sheet
from sdlora.data.folder import read_folder
from sdlora.errors import Error
from tests.data.planted import Planter, hashes, scene


@pytest.fixture
def at(tmp_path) -> Planter:
    """An empty folder to plant in, with six sound pictures."""
    planter = Planter(tmp_path / "images")
    for number in range(6):
        planter.picture(f"fine-{number}.png")
    return planter


def kinds(folder: Path, **options) -> dict[str, str]:
    """kind -> the place where it was found last."""
    return {finding.kind: finding.place for finding in examine(folder, **options).findings}


def test_a_sound_folder_is_only_told_that_nothing_is_held_out(at):
    assert kinds(at.root) == {"no-holdout": ""}


def test_the_samples_have_no_fault(tmp_path):
    for name in ("clay", "ink", "blob"):
        report = examine(f"sample:{name}/train")
        assert report.findings == () and report.holdout is not None, name


def test_training_reads_the_same_images_and_captions(at):
    at.picture("b/two.png", None)
    at.write("b/two.txt", b"\xef\xbb\xbfa  thing,\r\n two lines\r\n")
    at.picture("c/three.png", None)
    at.write("c/three.caption", b"from caption")
    at.picture("10_clay/four.png", None)
    at.picture("five.png", None)
    at.picture("six.png", "")
    at.picture("seven.png", None)
    at.write("seven.txt", "Würfel".encode("latin-1"))
    at.picture("fine-0-mask.png", None, image=Image.new("L", (160, 160), 255))
    at.write("broken.png", b"no")
    rows = [
        {"file_name": "five.png", "text": "from metadata", "weight": 0.5},
        {"file_name": "fine-1.png", "text": "file wins"},
    ]
    at.write("metadata.jsonl", "\n".join(map(json.dumps, rows)).encode())
    read, report = read_folder(at.root), examine(at.root)
    assert [(e.path, e.caption, e.repeats, e.weight, e.mask) for e in read.examples] == [
        (p.look.path, " ".join(p.said.text.split()), p.repeats, p.weight, p.mask) for p in report.study.pictures
    ]
    for skipped in read.skipped:
        assert report.files[skipped.path.relative_to(at.root).as_posix()].startswith("left out")


def test_captions_in_other_encodings_are_named_and_mended(at, tmp_path):
    for number, encoding in enumerate(["utf-16-le", "utf-16-be", "utf-16", "cp1252"]):
        at.picture(f"odd-{number}.png", None)
        at.write(f"odd-{number}.txt", "eine Tür".encode(encoding))
    report = examine(at.root)
    named = {finding.place for finding in report.findings if finding.kind == "caption-not-utf8"}
    assert named == {f"odd-{number}.txt" for number in range(4)}
    clean(report, tmp_path / "cleaned")
    captions = {e.path.stem: e.caption for e in read_folder(tmp_path / "cleaned").examples}
    assert {captions[f"odd-{number}"] for number in range(4)} == {"eine Tür"}


def test_two_images_share_a_caption_and_are_parted(at, tmp_path):
    at.picture("same.png", None)
    at.picture("same.jpg", "a thing that both say")
    report = examine(at.root)
    assert {f.kind for f in report.findings if f.place.startswith("same")} == {"shared-caption"}
    clean(report, tmp_path / "cleaned")
    again = read_folder(tmp_path / "cleaned")
    assert len({example.path.stem for example in again.examples}) == len(again.examples) == 8


def test_metadata_faults_hide_nothing_of_the_other_lines(at):
    lines = [
        '{"file_name": "fine-0.png", "text": "says another thing"}',
        '{"text": "nothing of whom"}',
        '{"file_name": "fine-1.png", "weight": -1}',
        '{"file_name": "fine-2.png", "weight": 0}',
        '{"file_name": "fine-2.png", "weight": 0}',
        "[1, 2]",
    ]
    at.write("metadata.jsonl", "\n".join(lines).encode())
    at.write("sub/metadata.csv", b"file_name,text")
    found = kinds(at.root)
    assert found["two-captions"] == "fine-0.png" and found["metadata-bad-weight"] == "metadata.jsonl, line 3"
    assert found["metadata-no-file-name"] == "metadata.jsonl, line 6" and found["weight-zero"] == "fine-2.png"
    assert found["metadata-twice"] == "metadata.jsonl, line 5" and found["metadata-other-format"] == "sub/metadata.csv"
    with pytest.raises(Error):
        read_folder(at.root)


def test_holdout_folders_that_count_for_nothing(at):
    at.picture("holdout/a.png")
    at.picture("sub/holdout/b.png")
    report = examine(at.root)
    found = {finding.place: finding.kind for finding in report.findings}
    assert found["holdout"] == "held-out" and found["sub/holdout"] == "stray-holdout"
    assert [picture.name for picture in report.holdout.pictures] == ["a.png"]


def test_a_near_copy_and_a_mirrored_one_in_the_holdout_leak(at, tmp_path):
    held = Planter(tmp_path / "kept aside")
    original = Image.open(at.root / "fine-0.png")
    held.picture("near.jpg", image=original.resize((100, 100)), quality=60)
    held.picture("turned.png", image=Image.open(at.root / "fine-1.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    leaks = {f.place: f.sentence for f in examine(at.root, holdout=held.root).findings if f.kind == "near-leak"}
    assert leaks.keys() == {"fine-0.png", "fine-1.png"} and "mirror" in leaks["fine-1.png"]


def test_masks_that_can_not_be_used(at):
    at.picture("alone-mask.png", None, image=Image.new("L", (160, 160), 255))
    at.picture("fine-0-mask.jpg", None, image=Image.new("L", (160, 160), 255))
    at.write("fine-1-mask.png", b"no picture")
    found = kinds(at.root)
    assert found["mask-without-image"] == "alone-mask.png"
    assert found["mask-not-png"] == "fine-0-mask.jpg" and found["mask-unreadable"] == "fine-1-mask.png"


def test_captions_counted(at):
    at.picture("odd.png", "no trigger, (big:1.3) <lora:x:1>")
    report = examine(at.root, trigger="clay style")
    assert report.captions.images == 7 and report.captions.with_trigger == 6
    assert report.captions.tags["clay style"] == 6
    found = {(finding.kind, finding.place) for finding in report.findings}
    assert {("trigger-missing", "odd.png"), ("prompt-syntax", "odd.png")} <= found


def test_the_context_is_the_base_s_own(at):
    at.picture("long.png", ", ".join(["a cat"] * 25))
    assert kinds(at.root)["over-context"] == "long.png"
    assert examine(at.root).captions.room == 30


def test_buckets_and_arithmetic_spelled_out(at):
    at.picture("10_wide/w.png", size=(400, 200))
    report = examine(at.root, resolution=512, batch_size=4, steps=100)
    frame = next(frame for frame in report.frames if frame.picture.name == "10_wide/w.png")
    assert frame.bucket[0] > frame.bucket[1] and 0 <= frame.lost < 0.2
    assert sum(report.buckets.values()) == 7
    said = " ".join(report.arithmetic)
    assert (
        "10_wide: 1 images × 10 repeats = 10." in said
        and "100 steps × batch 4 = 400 examples ÷ 16 = 25.0 epochs" in said
    )


def test_names_of_the_sheet_and_its_pages(at, tmp_path, monkeypatch):
    monkeypatch.setattr("sdlora.data.doctor.contact_sheet.A_PAGE", 4)
    frames = examine(at.root).frames
    pages = write_sheet(frames, tmp_path / "sheet.png")
    assert [page.name for page in pages] == ["sheet.png", "sheet-2.png"]
    assert Image.open(pages[0]).width > Image.open(pages[1]).width
    with pytest.raises(Error, match="png"):
        write_sheet(frames, tmp_path / "sheet.jpg")


def test_the_sheet_dims_what_the_crop_loses(tmp_path):
    at = Planter(tmp_path / "images")
    at.picture("long.png", image=Image.new("RGB", (960, 160), "white"))
    write_sheet(examine(at.root).frames, tmp_path / "sheet.png")
    sheet = Image.open(tmp_path / "sheet.png")
    line = [sheet.getpixel((x, 8 + 96)) for x in range(9, 8 + 191)]
    assert line[0] == line[-1] and max(line[0]) < 128 and line[len(line) // 2] == (255, 255, 255)


def test_no_image_and_no_usable_one(tmp_path):
    (tmp_path / "empty").mkdir()
    assert kinds(tmp_path / "empty")["no-images"] == ""
    Planter(tmp_path / "bad").write("a.png", b"no")
    assert kinds(tmp_path / "bad")["no-usable-image"] == ""
    with pytest.raises(Error, match="no folder"):
        examine(tmp_path / "nowhere")


def test_fix_writes_only_outside_and_into_nothing(at, tmp_path):
    report = examine(at.root)
    for target in (at.root, at.root / "inside", tmp_path):
        with pytest.raises(Error, match="dataset itself"):
            clean(report, target)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("mine", encoding="utf-8")
    with pytest.raises(Error, match="not empty"):
        clean(report, tmp_path / "full")


def test_fix_copies_sound_files_byte_by_byte_and_keeps_weights(at, tmp_path):
    at.write("metadata.jsonl", b'{"file_name": "fine-3.png", "weight": 2.5}')
    before = hashes(at.root)
    done = clean(examine(at.root), tmp_path / "cleaned")
    assert done.converted == done.renamed == done.left_out == {}
    for number in range(6):
        name = f"fine-{number}.png"
        assert (tmp_path / "cleaned" / name).read_bytes() == (at.root / name).read_bytes()
    weights = {example.path.name: example.weight for example in read_folder(tmp_path / "cleaned").examples}
    assert weights["fine-3.png"] == 2.5 and weights["fine-2.png"] == 1
    assert hashes(at.root) == before


def test_fix_keeps_what_transparency_meant_as_a_mask(at, tmp_path):
    glass = scene(50).convert("RGBA")
    glass.paste((0, 0, 0, 0), (0, 0, 80, 160))
    at.picture("glass.png", image=glass)
    clean(examine(at.root), tmp_path / "cleaned")
    mask = Image.open(tmp_path / "cleaned" / "glass-mask.png")
    assert mask.getpixel((10, 10)) == 0 and mask.getpixel((150, 10)) == 255
    assert read_folder(tmp_path / "cleaned").examples[-1].mask is not None


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="nothing is closed to an administrator")
def test_what_can_not_be_opened(at):
    paths = [at.picture("shut.png"), at.picture("fine-7.png").with_suffix(".txt"), at.picture("shut/a.png").parent]
    for path in paths:
        path.chmod(0)
    try:
        found = kinds(at.root)
    finally:
        for path in paths:
            path.chmod(stat.S_IRWXU)
    assert found["unreadable"] and found["unreadable-folder"] == "shut"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in a folder here")
def test_a_pipe_is_not_waited_for(at):
    os.mkfifo(at.root / "pipe.png")
    assert kinds(at.root)["not-a-file"] == "pipe.png"


def test_a_linked_folder_is_not_followed(at, tmp_path):
    Planter(tmp_path / "elsewhere").picture("a.png")
    (at.root / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert kinds(at.root)["linked-folder"] == "link"
