"""The issue's figure: a folder of 40 planted faults, all of them named, none fatal, nothing changed."""

import io
import random

import pytest

from sdlora.data.doctor import clean, examine, write_sheet
from sdlora.data.folder import read_folder
from tests.data.planted import hashes, plant, scene


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return plant(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def examined(planted):
    before = hashes(planted.root)
    report = examine(planted.root, trigger="clay style", batch_size=2, steps=100)
    return report, before


def test_all_forty_are_named_and_nothing_is_changed(planted, examined, tmp_path):
    report, before = examined
    found = {(finding.place, finding.kind) for finding in report.findings}
    assert [fault for fault in planted.faults if fault not in found] == []
    write_sheet(report.frames, tmp_path / "sheet.png")
    clean(report, tmp_path / "cleaned")
    assert hashes(planted.root) == before


def test_no_sound_picture_is_blamed(examined):
    report, _ = examined
    blamed = {
        finding.place: finding.kind for finding in report.findings if finding.place in {"sound-6.png", "sound-7.png"}
    }
    assert blamed == {}


def test_every_file_has_its_fate(planted, examined):
    report, _ = examined
    files = {path.relative_to(planted.root).as_posix() for path in planted.root.rglob("*") if not path.is_dir()}
    assert files <= report.files.keys()
    assert all(report.files.values())


def test_the_cleaned_copy_trains_and_has_no_error(examined, tmp_path):
    report, _ = examined
    done = clean(report, tmp_path / "cleaned")
    again = examine(tmp_path / "cleaned", trigger="clay style")
    assert [finding for finding in again.findings if finding.severity == "error"] == []
    kinds = {finding.kind for finding in again.findings}
    assert kinds & {"alpha", "rotated", "cmyk", "sixteen-bit", "animated", "wrong-extension", "duplicate"} == set()
    assert kinds & {"caption-not-utf8", "two-captions", "orphan-caption", "empty-caption", "many-repeats"} == set()
    read = read_folder(tmp_path / "cleaned")
    assert len(read.examples) == len(again.study.pictures) and done.images == len(read.examples) + 1  # one is held out
    assert "ein Würfel, clay style" in {example.caption for example in read.examples}


def test_no_damage_is_fatal_and_training_agrees_on_it(tmp_path):
    chance = random.Random(0)
    for kind, suffix in (
        ("PNG", "png"),
        ("JPEG", "jpg"),
        ("WEBP", "webp"),
        ("BMP", "bmp"),
        ("GIF", "png"),
        ("TIFF", "png"),
    ):
        file = io.BytesIO()
        scene(1, (48, 48)).save(file, kind)
        for number in range(25):
            content = bytearray(file.getvalue())
            for _ in range(chance.choice([1, 3, 10])):
                content[chance.randrange(min(len(content), chance.choice([40, 200, 10**6])))] = chance.randrange(256)
            (tmp_path / f"{kind}{number}.{suffix}").write_bytes(content[: chance.choice([len(content), 300])])
    read, report = read_folder(tmp_path), examine(tmp_path)
    assert [picture.look.path for picture in report.study.pictures] == [example.path for example in read.examples]
    assert len(report.files) == 150 and any(fate.startswith("left out") for fate in report.files.values())
