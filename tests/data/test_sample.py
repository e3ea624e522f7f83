"""The datasets that come with sdlora, and finding what is held out."""

from pathlib import Path

import pytest
from PIL import Image

from sdlora.data.folder import read_folder
from sdlora.data.images import open_image
from sdlora.data.sample import holdout_beside, resolve_folder, sample_facts, sample_names
from sdlora.errors import Error
from sdlora.resources import shipped

TRAIN_COUNTS = {"blob": 20, "clay": 24, "ink": 24}


def test_the_samples_are_those_of_the_readme() -> None:
    assert sample_names() == tuple(TRAIN_COUNTS)


@pytest.mark.parametrize(("name", "count"), TRAIN_COUNTS.items())
def test_a_sample_trains_on_its_train_folder_only(name: str, count: int) -> None:
    dataset = read_folder(f"sample:{name}")
    assert len(dataset.examples) == count
    assert {example.path.parent.name for example in dataset.examples} == {"train"}
    assert dataset.skipped == () and dataset.warnings == ()


@pytest.mark.parametrize("name", TRAIN_COUNTS)
def test_sixteen_are_held_out_and_share_no_concept_with_training(name: str) -> None:
    facts = sample_facts(f"sample:{name}")
    holdout = holdout_beside(f"sample:{name}")
    assert facts and holdout

    def concepts(folder: Path) -> list[str]:
        examples = read_folder(folder, facts.trigger).examples
        return [example.caption.removesuffix(f", {facts.trigger}") for example in examples]

    trained, held = concepts(facts.folder / "train"), concepts(holdout)
    assert len(set(held)) == 16 == len(held)
    assert not set(trained) & set(held)
    # Every caption ends with the trigger, so none had to have it put in front.
    assert all(facts.trigger not in concept for concept in trained + held)
    if facts.kind == "style":  # a style's concept is one thing; "cat" and "cat face" would share a word
        words = [{word for concept in side for word in concept.split()} - {"face"} for side in (trained, held)]
        assert not words[0] & words[1]


@pytest.mark.parametrize("name", TRAIN_COUNTS)
def test_a_sample_says_what_it_is_and_whose(name: str) -> None:
    facts = sample_facts(f"sample:{name}")
    assert facts and facts.name == name and facts.kind in ("style", "character")
    assert facts.licence in ("MIT", "Apache-2.0") and facts.credit
    assert all((facts.folder / file).is_file() for file in ("LICENSE", "README.md"))
    assert sample_facts(facts.folder / "train") == facts == sample_facts(f"sample:{name}/holdout")


def test_sample_images_are_of_one_size_on_white() -> None:
    for path in shipped("datasets").rglob("*.png"):
        image = open_image(path)
        assert image.size == (256, 256)
        assert "A" not in Image.open(path).mode


def test_the_samples_are_small_and_hold_no_code() -> None:
    files = [path for path in shipped("datasets").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 2.5e6
    assert not [path for path in files if path.suffix == ".py"]


@pytest.mark.parametrize("name", ["nothing", "", "..", "clay2"])
def test_an_unknown_sample_names_those_that_exist(name: str) -> None:
    with pytest.raises(Error, match="sample:blob, sample:clay, sample:ink"):
        resolve_folder(f"sample:{name}")


def test_other_folders_have_no_facts(tmp_path: Path) -> None:
    assert sample_facts(tmp_path) is None
    assert sample_facts(shipped("datasets")) is None


@pytest.mark.parametrize("given", [".", "train", "Train"])
def test_the_holdout_is_found_inside_or_beside_train(tmp_path: Path, given: str) -> None:
    (tmp_path / given).mkdir(exist_ok=True)
    (tmp_path / "Holdout").mkdir()
    assert holdout_beside(tmp_path / given) == tmp_path / "Holdout"


def test_no_holdout(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "holdout").write_text("a file", encoding="utf-8")
    assert holdout_beside(tmp_path) is None
    (tmp_path / "holdout").unlink()
    (tmp_path / "holdout").mkdir()
    assert holdout_beside(tmp_path / "pictures") is None  # only a folder named `train` has its holdout beside it
