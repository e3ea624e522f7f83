"""Class images (DreamBooth's prior preservation): drawn once, learned beside the subject's, kept through a resume."""

import json

import pytest

import sdlora
from sdlora.errors import Error
from sdlora.training.run_folder import RunFolder
from tests.training.conftest import draw_images

DREAMBOOTH = {"class_prompt": "a green square", "class_count": 3, "prior_preservation": "auto", "steps": 4}


def losses(run):
    return [row["loss"] for row in RunFolder(run.folder).metrics() if "loss" in row]


def pictures(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}


def cut_back(run, step):
    """The run as a kill after a checkpoint leaves it."""
    folder = RunFolder(run.folder)
    for file in folder.checkpoints.glob("step-*"):
        if int(file.stem[5:]) > step:
            file.unlink()
    folder.write_status("stopped", step, 4)


def test_missing_ones_are_drawn_once_and_a_resumed_run_is_the_same(small, tmp_path):
    settings = DREAMBOOTH | {"checkpoint_every": 2}
    whole = sdlora.train(small(tmp_path, **settings), quiet=True)
    assert RunFolder(whole.folder).config().prior_preservation == 1.0
    (folder,) = (tmp_path / "class-images").iterdir()
    drawn = pictures(folder)
    assert len(drawn) == 3 and all(p.read_text(encoding="utf-8") == "a green square" for p in folder.glob("*.txt"))
    second = sdlora.train(small(tmp_path, **settings), quiet=True)
    assert pictures(folder) == drawn, "another run finds them"
    for path in folder.iterdir():
        path.unlink()  # a resumed run has them by heart
    cut_back(second, 2)
    again = sdlora.train(small(tmp_path, **settings), resume=second.folder.name, quiet=True)
    assert losses(again) == losses(whole)
    assert not list(folder.iterdir())


def test_a_folder_is_filled_up_and_one_by_one_drawn_ones_are_the_same(small, tmp_path):
    folder = draw_images(tmp_path / "class", ("red",))
    own = pictures(folder)
    settings = DREAMBOOTH | {"class_images": folder, "steps": 1}
    sdlora.train(small(tmp_path, **settings), quiet=True)
    all_three = pictures(folder)
    assert len(all_three) == 3 and own.items() < all_three.items()
    (folder / "class-0003.png").unlink()  # as when a kill came before it
    sdlora.train(small(tmp_path, **settings), quiet=True)
    assert pictures(folder) == all_three


def test_no_picture_that_is_there_is_drawn_over(small, tmp_path, monkeypatch):
    """Whatever its name, and whatever was taken away before; `~` is the user's folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    draw_images(tmp_path / "class", ("red",))
    folder = tmp_path / "class"
    (folder / "red-0.png").rename(folder / "class-0002.png")
    (folder / "red-0.txt").rename(folder / "class-0002.txt")
    (folder / "class-0002-mask.png").write_bytes((folder / "class-0002.png").read_bytes())
    own = pictures(folder)
    settings = DREAMBOOTH | {"class_images": "~/class", "steps": 1}
    sdlora.train(small(tmp_path, **settings), quiet=True)
    names = {"class-0001.png", "class-0002.png", "class-0002-mask.png", "class-0003.png"}
    assert set(pictures(folder)) == names and own.items() < pictures(folder).items()
    (folder / "class-0001.png").unlink()
    sdlora.train(small(tmp_path, **settings), quiet=True)
    assert set(pictures(folder)) == names


def test_a_base_with_adapters_in_it_draws_its_own(small, tmp_path):
    plain = sdlora.train(small(tmp_path, **DREAMBOOTH), quiet=True)
    merged = [f"{plain.adapter_path}:1"]
    again = sdlora.train(small(tmp_path, **DREAMBOOTH, name="again", merged=merged), quiet=True)
    assert len(list((tmp_path / "class-images").iterdir())) == 2
    again.adapter_path.replace(plain.adapter_path)  # another adapter of the same name
    sdlora.train(small(tmp_path, **DREAMBOOTH, name="other", merged=merged), quiet=True)
    assert len(list((tmp_path / "class-images").iterdir())) == 3


def test_class_images_are_learned(small, tmp_path):
    """Strongly weighted, they pull the loss elsewhere than without them; the first step's loss has both parts."""
    folder = draw_images(tmp_path / "class", ("red", "blue"))
    alone = sdlora.train(small(tmp_path / "a", steps=2), quiet=True)
    with_them = sdlora.train(small(tmp_path / "b", steps=2, class_images=folder, prior_preservation="auto"), quiet=True)
    first, second = losses(alone), losses(with_them)
    assert second[0] > 1.2 * first[0], "a class image's error is as large as an image's"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"class_images": "nowhere"}, "no folder nowhere of class images: give class_prompt"),
        ({"class_prompt": "a dog", "prior_preservation": 0.0}, "prior_preservation = 0 switches it off"),
    ],
)
def test_what_can_t_be_is_a_sentence(small, tmp_path, settings, sentence):
    with pytest.raises(Error, match=sentence):
        sdlora.train(small(tmp_path, **({"prior_preservation": "auto"} | settings)), quiet=True)


def test_a_class_image_without_a_caption_needs_the_prompt(small, tmp_path):
    folder = draw_images(tmp_path / "class", ("red",))
    (folder / "red-0.txt").unlink()
    settings = {"class_images": folder, "prior_preservation": 1.0, "steps": 1}
    with pytest.raises(Error, match="has no caption: give class_prompt"):
        sdlora.train(small(tmp_path, **settings), quiet=True)
    run = sdlora.train(small(tmp_path, **settings, class_prompt="a disc", class_count=1), quiet=True)
    header = (run.folder / "prior.safetensors").read_bytes()
    size = int.from_bytes(header[:8], "little")
    assert json.loads(header[8 : 8 + size])["__metadata__"]["captions"] == '["a disc"]'
