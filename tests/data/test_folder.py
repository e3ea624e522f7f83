"""Folders as people have them: captions from five places, what is skipped, what is refused."""

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sdlora.data.captions import with_trigger
from sdlora.data.folder import Dataset, read_folder
from sdlora.errors import Error


def picture(path: Path, caption: str | None = None, suffix: str = ".txt") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "red").save(path)
    if caption is not None:
        path.with_suffix(suffix).write_text(caption, encoding="utf-8")
    return path


def metadata(folder: Path, *rows: dict[str, str]) -> None:
    lines = "\n".join(json.dumps(row) for row in rows)
    (folder / "metadata.jsonl").write_text(lines, encoding="utf-8")


def captions(dataset: Dataset) -> dict[str, str]:
    return {example.path.relative_to(dataset.root).as_posix(): example.caption for example in dataset.examples}


def test_formats_any_case_any_depth_non_ascii_names(tmp_path: Path) -> None:
    names = ["a.png", "B.JPG", "c/d.Jpeg", "c/e/f.WEBP", "g.bmp", "Füchse/狐 🦊.png"]
    for name in names:
        picture(tmp_path / name, f"caption of {name}")
    dataset = read_folder(tmp_path)
    assert captions(dataset) == {name: f"caption of {name}" for name in names}
    assert dataset.warnings == () and dataset.skipped == ()
    assert all(example.repeats == 1 for example in dataset.examples)


def test_the_order_is_that_of_the_relative_paths(tmp_path: Path) -> None:
    for name in ("b/1.png", "a.png", "b/0.png", "a/z.png"):
        picture(tmp_path / name, "x")
    names = [example.path.relative_to(tmp_path).as_posix() for example in read_folder(tmp_path).examples]
    assert names == ["a.png", "a/z.png", "b/0.png", "b/1.png"]


def test_caption_file_with_a_byte_order_mark_and_line_breaks(tmp_path: Path) -> None:
    picture(tmp_path / "a.png").with_suffix(".txt").write_bytes(b"\xef\xbb\xbfein W\xc3\xbcrfel,\r\n rot \r\n")
    assert captions(read_folder(tmp_path)) == {"a.png": "ein Würfel, rot"}


def test_caption_suffix_and_its_case(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", "from caption", ".caption")
    picture(tmp_path / "b.png", "from TXT", ".TXT")
    picture(tmp_path / "c.png", "loses", ".caption")
    picture(tmp_path / "c.png", "wins", ".txt")
    assert captions(read_folder(tmp_path)) == {"a.png": "from caption", "b.png": "from TXT", "c.png": "wins"}


def test_names_in_two_unicode_forms_belong_together(tmp_path: Path) -> None:
    picture(tmp_path / (unicodedata.normalize("NFD", "Café") + ".png"))
    (tmp_path / (unicodedata.normalize("NFC", "Café") + ".txt")).write_text("coffee", encoding="utf-8")
    assert [example.caption for example in read_folder(tmp_path).examples] == ["coffee"]


def test_metadata_of_the_hugging_face_convention(tmp_path: Path) -> None:
    for name in ("a.png", "b/c.png", "b/d.png", "e.png"):
        picture(tmp_path / name)
    (tmp_path / "e.txt").write_text("the file beside it wins", encoding="utf-8")
    metadata(
        tmp_path,
        {"file_name": "a.png", "text": "an apple"},
        {"file_name": "b/c.png", "text": "a cat", "licence": "CC0"},
        {"file_name": "e.png", "text": "loses"},
    )
    metadata(tmp_path / "b", {"file_name": "d.png", "text": "a dog"})
    dataset = read_folder(tmp_path)
    assert captions(dataset) == {
        "a.png": "an apple",
        "b/c.png": "a cat",
        "b/d.png": "a dog",
        "e.png": "the file beside it wins",
    }
    assert dataset.warnings == ()


def test_metadata_that_names_missing_files_warns(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", "x")
    metadata(tmp_path, {"file_name": "gone.png", "text": "y"})
    (warning,) = read_folder(tmp_path).warnings
    assert "1 files" in warning and "gone.png" in warning


@pytest.mark.parametrize("line", ["{not json", '{"text": "no name"}', "[1]"])
def test_damaged_metadata_names_file_and_line(tmp_path: Path, line: str) -> None:
    picture(tmp_path / "a.png", "x")
    (tmp_path / "metadata.jsonl").write_text(f'{{"file_name": "a.png", "text": "a"}}\n{line}\n', encoding="utf-8")
    with pytest.raises(Error, match=r"Line 2 of .*metadata\.jsonl"):
        read_folder(tmp_path)


def test_kohya_folders_give_repeats_and_a_fallback_caption(tmp_path: Path) -> None:
    picture(tmp_path / "10_sks dog" / "a.png")
    picture(tmp_path / "10_sks dog" / "b.png", "a dog that runs")
    picture(tmp_path / "3_cat" / "c.png")
    dataset = read_folder(tmp_path)
    assert [(example.path.name, example.caption, example.repeats) for example in dataset.examples] == [
        ("a.png", "sks dog", 10),
        ("b.png", "a dog that runs", 10),
        ("c.png", "cat", 3),
    ]
    assert dataset.warnings == ()


def test_a_leaf_folder_of_kohyas_is_refused_and_its_parent_named(tmp_path: Path) -> None:
    picture(tmp_path / "img" / "10_dog" / "a.png")
    with pytest.raises(Error, match="give its parent") as raised:
        read_folder(tmp_path / "img" / "10_dog")
    assert str(tmp_path / "img") in str(raised.value)


def test_a_kohya_folder_of_zero_repeats_is_skipped(tmp_path: Path) -> None:
    picture(tmp_path / "0_out" / "a.png")
    picture(tmp_path / "1_in" / "b.png")
    dataset = read_folder(tmp_path)
    assert captions(dataset) == {"1_in/b.png": "in"}
    assert "0 repeats" in dataset.skipped[0].reason


def test_a_year_read_as_repeats_warns(tmp_path: Path) -> None:
    picture(tmp_path / "2023_summer" / "a.png", "beach")
    (warning,) = read_folder(tmp_path).warnings
    assert "2023 repeats" in warning


def test_no_caption_means_the_trigger_and_one_warning_that_counts(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png", "  \n")
    picture(tmp_path / "c.png", "cat, clay style")
    dataset = read_folder(tmp_path, "clay style")
    assert captions(dataset) == {"a.png": "clay style", "b.png": "clay style", "c.png": "cat, clay style"}
    (warning,) = dataset.warnings
    assert "2 of 3" in warning and "clay style" in warning


def test_neither_caption_nor_trigger_is_an_empty_prompt_and_warned(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    dataset = read_folder(tmp_path, "  ")
    assert captions(dataset) == {"a.png": ""}
    assert "1 of 1" in dataset.warnings[0] and "empty prompt" in dataset.warnings[0]


@pytest.mark.parametrize(
    ("caption", "result"),
    [
        ("a fox", "clay style, a fox"),
        ("a fox, Clay Style", "a fox, Clay Style"),
        ("clay styled fox", "clay style, clay styled fox"),
        ("", "clay style"),
    ],
)
def test_the_trigger_is_put_in_front_where_it_lacks(caption: str, result: str) -> None:
    assert with_trigger(caption, "clay style") == result


@given(st.text("aBß ,.(é"), st.text("AbÉ .(", min_size=1))
def test_any_caption_has_any_trigger_once_and_stays_as_it_was(caption: str, trigger: str) -> None:
    once = with_trigger(caption, trigger)
    assert once.endswith(caption)
    assert trigger.lower() in once.lower()


def test_a_broken_image_is_skipped_and_listed(tmp_path: Path) -> None:
    picture(tmp_path / "good.png", "x")
    (tmp_path / "bad.png").write_bytes(b"")
    dataset = read_folder(tmp_path)
    assert captions(dataset) == {"good.png": "x"}
    assert [item.path.name for item in dataset.skipped] == ["bad.png"]


def test_only_broken_images_is_an_error_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"nothing")
    with pytest.raises(Error, match=r"None of the 1 images .*bad\.png"):
        read_folder(tmp_path)


@pytest.mark.parametrize("content", [b"caf\xe9", "fox".encode("utf-16"), "fox".encode("utf-16-le")])
def test_an_unreadable_caption_skips_its_image(tmp_path: Path, content: bytes) -> None:
    picture(tmp_path / "good.png", "x")
    picture(tmp_path / "bad.png").with_suffix(".txt").write_bytes(content)
    dataset = read_folder(tmp_path)
    assert captions(dataset) == {"good.png": "x"}
    (skipped,) = dataset.skipped
    assert skipped.path.name == "bad.png" and "bad.txt" in skipped.reason and "UTF-8" in skipped.reason


def test_formats_that_are_not_read_are_listed(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", "x")
    (tmp_path / "phone.HEIC").write_bytes(b"x")
    (tmp_path / "notes.md").write_text("no picture", encoding="utf-8")
    assert [item.path.name for item in read_folder(tmp_path).skipped] == ["phone.HEIC"]


def test_images_that_share_a_caption_warn(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg", "both")
    picture(tmp_path / "a.png")
    dataset = read_folder(tmp_path)
    assert captions(dataset) == {"a.jpg": "both", "a.png": "both"}
    assert "share" in dataset.warnings[0]


def test_hidden_files_and_archive_litter_are_ignored(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", "x")
    for name in (".b.png", ".cache/c.png", "__MACOSX/d.png"):
        picture(tmp_path / name)
    (tmp_path / "._a.png").write_bytes(b"resource fork")
    dataset = read_folder(tmp_path)
    assert captions(dataset) == {"a.png": "x"} and dataset.skipped == ()


def test_an_empty_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Error, match="There is no image in"):
        read_folder(tmp_path)


@pytest.mark.parametrize("name", ["nowhere", "file.png"])
def test_what_is_no_folder_is_one_sentence(tmp_path: Path, name: str) -> None:
    picture(tmp_path / "file.png")
    with pytest.raises(Error, match=name):
        read_folder(tmp_path / name)


@pytest.mark.parametrize("name", ["holdout", "Holdout", "deep/HOLDOUT/deeper"])
def test_a_holdout_folder_is_never_training_data(tmp_path: Path, name: str) -> None:
    picture(tmp_path / "train" / "a.png", "x")
    picture(tmp_path / name / "b.png", "y")
    assert captions(read_folder(tmp_path)) == {"train/a.png": "x"}


def test_a_holdout_folder_given_itself_is_read(tmp_path: Path) -> None:
    picture(tmp_path / "holdout" / "b.png", "y")
    assert captions(read_folder(tmp_path / "holdout")) == {"b.png": "y"}
