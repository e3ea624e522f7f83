"""One zip with the kit and the adapter in it; and what is shown of an adapter in small."""

import io
import json
import zipfile

import pytest
from PIL import Image

from sdlora.adapters.formats.container import data_hash, file_hash
from sdlora.adapters.formats.header import read_header, write_metadata
from sdlora.errors import Error
from sdlora.sharing import Story, make_package
from sdlora.sharing.thumbnail import embed_thumbnail, thumbnail

STORY = Story("in ink style", 0.8, "cc-by-4.0", "An Author", "Lines of ink.")


def test_the_zip_holds_all_that_is_shared_and_the_library_stays_as_it_was(ink, picture, tmp_path):
    before = file_hash(ink), sorted(ink.parent.iterdir())
    package = make_package(ink, tmp_path / "out" / "ink.zip", STORY, [picture])
    assert (file_hash(ink), [p for p in sorted(ink.parent.iterdir()) if p.name != "out"]) == before
    with zipfile.ZipFile(package.path) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "there")
    shared = tmp_path / "there" / "ink"
    assert names == [f"ink/{file}" for file in package.files]
    for name in ("ink.safetensors", "README.md", "civitai.txt", "ink.json", "ink.preview.png", "images/ink-1.png"):
        assert (shared / name).is_file()
    metadata = read_header(shared / "ink.safetensors").metadata
    assert metadata["modelspec.trigger_phrase"] == "in ink style"
    assert metadata["modelspec.license"] == "cc-by-4.0"
    assert metadata["modelspec.author"] == "An Author"
    assert metadata["modelspec.usage_hint"] == "weight 0.8"
    assert data_hash(shared / "ink.safetensors") == data_hash(ink)
    notes = json.loads((shared / "ink.json").read_text(encoding="utf-8"))
    assert (notes["activation text"], notes["preferred weight"]) == ("in ink style", 0.8)
    assert "weight of about 0.8" in (shared / "README.md").read_text(encoding="utf-8")
    assert file_hash(shared / "ink.safetensors")[:10] in (shared / "civitai.txt").read_text(encoding="utf-8")


def test_what_the_training_knew_may_stay_at_home(ink, tmp_path):
    write_metadata(ink, read_header(ink).metadata | {"ss_tag_frequency": '{"my cat": {"cat": 3}}'})
    package = make_package(ink, tmp_path / "ink.zip", Story(private=True))
    with zipfile.ZipFile(package.path) as archive:
        assert b"my cat" not in archive.read("ink/ink.safetensors")
    assert "the kit has no pictures" in package.hints[0]


def test_nothing_is_left_where_it_fails(ink, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(Error):
        make_package(ink, tmp_path / "ink.zip", STORY, [broken])
    with pytest.raises(Error, match="description is too long"):
        make_package(ink, tmp_path / "ink.zip", Story(description="x" * 6000))
    assert not (tmp_path / "ink.zip").exists()


def test_the_picture_beside_a_file_goes_before_the_one_inside(ink, picture):
    assert thumbnail(ink) is None
    embed_thumbnail(ink, picture)
    inside = Image.open(io.BytesIO(thumbnail(ink)))
    assert max(inside.size) <= 256
    Image.new("RGB", (600, 300), "red").save(ink.with_suffix(".preview.png"))
    beside = Image.open(io.BytesIO(thumbnail(ink, 100)))
    assert (beside.format, beside.size) == ("WEBP", (100, 50))
    assert beside.getpixel((50, 25))[0] > 200


@pytest.mark.parametrize("content", [b"", b"no picture", b"GIF89a" + bytes(100)])
def test_a_damaged_picture_is_none(ink, content):
    ink.with_suffix(".png").write_bytes(content)
    assert thumbnail(ink) is None


def test_a_huge_picture_is_not_decoded(ink):
    Image.new("1", (20_000, 20_000)).save(ink.with_suffix(".png"))
    assert thumbnail(ink) is None
