"""The issue's figure: a folder of 40 planted faults, all of them named, none fatal, nothing changed."""

import pytest

from sdlora.data.doctor import clean, examine, write_sheet
from sdlora.data.folder import read_folder
from tests.data.planted import hashes, plant


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
