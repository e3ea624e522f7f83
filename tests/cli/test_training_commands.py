"""The commands around a training."""

import tomllib

import pytest


@pytest.fixture
def theirs(tmp_path):
    path = tmp_path / "theirs.toml"
    path.write_text('train_data_dir = "pictures"\nnetwork_dim = 8\nip_noise_gamma = 0.1\n', encoding="utf-8")
    return path


def test_import_config_prints_settings_and_says_what_is_missing(sdlora, theirs):
    done = sdlora("import-config", theirs)
    assert done.code == 3
    assert tomllib.loads(done.out)["rank"] == 8
    assert done.err == "sdlora: not carried over: ip_noise_gamma = 0.1: there is nothing like it here\n"


def test_import_config_writes_a_file_once(sdlora, theirs, tmp_path):
    out = tmp_path / "ours.toml"
    assert sdlora("import-config", theirs, "--out", out).out.strip() == str(out)
    assert tomllib.loads(out.read_text(encoding="utf-8"))["images"] == "pictures"
    again = sdlora("import-config", theirs, "--out", out)
    assert again.code == 1 and "--force" in again.err


def test_import_config_as_json(sdlora, theirs):
    document = sdlora("import-config", theirs, "--json").json
    assert document["settings"]["rank"] == 8 and len(document["left_out"]) == 1
