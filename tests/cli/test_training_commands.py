"""The commands around a training."""

import tomllib

import pytest

from tests.training.conftest import draw_images


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


# --- trainings --------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(tmp_path):
    """Flags of a training of one step."""
    draw_images(tmp_path / "discs")
    facts = {"name": "disc", "images": tmp_path / "discs", "workspace": tmp_path / "ws", "steps": 1, "rank": 2}
    facts |= {"resolution": 64, "batch-size": 1, "precision": "fp32", "attention": "sdpa", "device": "cpu"}
    facts |= {"targets": "unet.mid_block", "prior-preservation": 0, "sample-prompts": "a disc --s 1"}
    facts |= {"checkpoint-every": 1, "memory": "off"}
    return [word for key, value in facts.items() for word in (f"--{key}", str(value))]


def test_a_training_is_continued_made_again_and_one_of_its_steps_kept(sdlora, quick, tmp_path):
    place = ("--workspace", tmp_path / "ws")
    adapters = tmp_path / "ws" / "adapters"
    assert sdlora("train", *quick).out.strip() == str(adapters / "disc.safetensors")
    longer = sdlora("train", "--continue", "disc", "--steps", "+2", *place)
    assert longer.code == 0 and "disc goes on from step 1 to step 3" in longer.err
    assert longer.out.strip() == str(adapters / "disc.safetensors")
    again = sdlora("train", "--again", "disc", "--steps", "1", "--learning-rate", "3e-4", "--json", *place)
    assert again.json["adapter_path"] == str(adapters / "disc-2.safetensors")
    kept = sdlora("keep", "disc", "2", *place)
    assert kept.code == 0 and "is now the adapter of step 2 of disc" in kept.out
    assert sdlora("keep", "disc", "last", "--json", *place).json["instead_of"] == 2
    assert "has no checkpoint of step 9: it has 1, 2, 3" in sdlora("keep", "disc", "9", *place).err
    assert "'soon' is no step" in sdlora("keep", "disc", "soon", *place).err


def test_several_configs(sdlora, quick, tmp_path):
    from sdlora.training.config import TrainConfig

    values = {quick[i][2:].replace("-", "_"): quick[i + 1] for i in range(0, len(quick), 2)}
    values |= {"sample_prompts": [values["sample_prompts"]]}
    for name, images in (("a", tmp_path / "nowhere"), ("b", tmp_path / "discs")):
        config = TrainConfig(**values | {"name": name, "images": str(images)})
        (tmp_path / f"{name}.toml").write_text(config.toml(), encoding="utf-8")
    files = [tmp_path / f"{name}.toml" for name in "ab"]
    done = sdlora("train", *files, "--rank", "1", "--json")
    assert done.code == 1 and [one["state"] for one in done.json] == ["failed", "finished"]
    assert "There is no folder" in done.json[0]["problem"] and f"{files[0]}: failed: There is no folder" in done.err
    kept = sorted(path.name for path in (tmp_path / "ws" / "adapters").iterdir())
    assert kept == ["b.safetensors"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--resume", "a", "--continue", "b"), "give one of them"),
        (("a.toml", "--again", "b"), "leave CONFIG.toml out"),
        (("a.toml", "b.toml", "--resume"), "--resume goes on with one run"),
        (("--continue", "nobody", "--steps", "+5"), "There is no run 'nobody'"),
        (("--continue", "nobody"), "give --steps +500"),
        (("--name", "a", "--images", "b", "--steps", "+5"), "--continue RUN --steps +5"),
    ],
)
def test_flags_that_contradict_each_other(sdlora, words, says):
    done = sdlora("train", *words)
    assert done.code == 1 and says in done.err


def test_report_writes_the_page_anew_and_prints_its_path(sdlora, quick, tmp_path):
    sdlora("train", *quick)
    page = tmp_path / "ws" / "runs" / "disc" / "report.html"
    page.unlink()
    assert sdlora("report", page.parent).out.strip() == str(page) and "</html>" in page.read_text(encoding="utf-8")
    assert sdlora("report", "disc", "--workspace", tmp_path / "ws", "--json").json == {"report": str(page)}
    missing = sdlora("report", "none", "--workspace", tmp_path)
    assert missing.code == 1 and "There is no run 'none'" in missing.err
