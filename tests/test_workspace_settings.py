from pathlib import Path

import pytest

from sdlora import Error
from sdlora.workspace_settings import FILE, WorkspaceSettings, read_settings


def settings(workspace, text):
    (workspace / FILE).write_text(text, encoding="utf-8")
    return read_settings(workspace)


def test_without_a_file_there_are_no_further_folders(tmp_path):
    assert read_settings(tmp_path) == WorkspaceSettings()
    assert read_settings(tmp_path).folders_of_adapters() == []


def test_folders_may_be_relative_to_the_workspace_and_to_the_home(tmp_path):
    (tmp_path / "more").mkdir()
    found = settings(tmp_path, 'adapter_folders = ["more"]\ndataset_roots = ["~/pictures"]\n')
    assert found.folders_of_adapters() == [tmp_path / "more"]
    assert found.dataset_roots == (Path.home() / "pictures",)


@pytest.mark.parametrize(
    ("adapters", "bases"),
    [
        (["models/Lora", "models/LyCORIS"], ["models/Stable-diffusion"]),
        (["models/loras"], ["models/checkpoints", "models/diffusers"]),
    ],
)
def test_an_installation_stands_for_the_folders_in_it(tmp_path, adapters, bases):
    for name in (*adapters, *bases):
        (tmp_path / "installed" / name).mkdir(parents=True)
    found = settings(tmp_path, 'adapter_folders = ["installed"]\nbase_folders = ["installed"]\n')
    assert found.folders_of_adapters() == [tmp_path / "installed" / name for name in adapters]
    assert found.folders_of_bases() == [tmp_path / "installed" / name for name in bases]


def test_a_folder_that_is_not_there_is_told_and_not_looked_into(tmp_path):
    found = settings(tmp_path, 'base_folders = ["gone"]')
    assert found.missing() == [tmp_path / "gone"]
    assert found.folders_of_bases() == []


def test_a_folder_named_twice_is_looked_into_once(tmp_path):
    (tmp_path / "more").mkdir()
    assert settings(tmp_path, 'adapter_folders = ["more", "./more"]').folders_of_adapters() == [tmp_path / "more"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("adapter_folder = []", "did you mean adapter_folders?"),
        ("colour = 1", "it may have adapter_folders, base_folders, dataset_roots"),
        ('adapter_folders = "D:/models"', "adapter_folders must be a list of folders"),
        ("dataset_roots = [1]", "dataset_roots must be a list of folders"),
        ('base_folders = [""]', "base_folders has an empty entry"),
        ('base_folders = ["D:\\models"]', "not valid TOML"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_file_and_key(tmp_path, text, sentence):
    with pytest.raises(Error, match=r"settings\.toml") as refusal:
        settings(tmp_path, text)
    assert sentence.replace("\\", "") in str(refusal.value)


def test_only_what_lies_in_a_root_may_be_trained_on(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root / "cats", outside):
        folder.mkdir(parents=True)
    (root / "link").symlink_to(outside, target_is_directory=True)
    found = settings(tmp_path, 'dataset_roots = ["root"]')
    assert found.dataset(root / "cats") == (root / "cats").resolve()
    for place in (outside, root / ".." / "outside", root / "link"):
        with pytest.raises(Error, match="may not be trained on"):
            found.dataset(place)
    with pytest.raises(Error, match="there is no folder"):
        found.dataset(root / "dogs")
