"""The one schema of a training's settings."""

import tomllib
from pathlib import Path

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from sdlora.errors import Error
from sdlora.training.config import ResolvedConfig, TrainConfig


def config(**values):
    return TrainConfig(**({"name": "clay", "images": "pictures"} | values))


@pytest.mark.parametrize(
    ("wrong", "right"), [("learning_rat", "learning_rate"), ("batchsize", "batch_size"), ("lora_rank", "rank")]
)
def test_an_unknown_key_names_the_nearest(wrong, right):
    with pytest.raises(Error, match=f"'{wrong}': did you mean '{right}'"):
        config(**{wrong: 1})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("steps", 0),
        ("steps", "many"),
        ("rank", -4),
        ("alpha", 0),
        ("alpha", float("nan")),
        ("learning_rate", -1e-4),
        ("learning_rate", "inf"),
        ("caption_dropout", 1.5),
        ("dropout", 1.0),
        ("max_grad_norm", 0),
        ("schedule", "quadratic"),
        ("precision", "int8"),
        ("save_dtype", "fp8"),
        ("flip", "perhaps"),
        ("epochs", 0),
        ("seed", -1),
        ("images", 3),
        ("sample_prompts", "one"),
    ],
)
def test_a_bad_value_is_one_sentence_with_its_key(key, value):
    with pytest.raises(Error) as caught:
        config(**{key: value})
    assert f"{key} = {value!r}" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["name", "images"])
def test_what_is_missing_is_named_with_its_flag(key):
    values = {"name": "clay", "images": "pictures"}
    del values[key]
    with pytest.raises(Error, match=f"'{key}' is missing.*--{key}"):
        TrainConfig(**values)


BAD_NAMES = [
    "",
    " ",
    ".",
    "..",
    ".hidden",
    " a",
    "a ",
    "a.",
    "a/b",
    "a\\b",
    "a:b",
    "a?",
    "a\n",
    "\x00",
    "\x01a",
    "x" * 101,
]


@pytest.mark.parametrize("name", [*BAD_NAMES, "con", "NUL", "COM1.old", "lpt9", "aux .x"])
def test_names_that_are_no_file_names_somewhere(name):
    with pytest.raises(Error, match="name = "):
        config(name=name)


@pytest.mark.parametrize("name", ["clay", "my clay 2", "粘土", "Ton-Figur_3", "v1.5", "console", "x" * 100])
def test_names_that_are(name):
    assert config(name=name).name == name


def test_a_command_line_s_strings_are_read():
    read = config(
        targets="attention, feed_forward", steps="20", learning_rate="1e-4", flip="true", rank="auto", warmup="5"
    )
    assert read.targets == ["attention", "feed_forward"] and read.steps == 20 and read.learning_rate == 1e-4
    assert read.flip is True and read.rank == "auto" and read.warmup == 5
    assert config(targets="auto").targets == "auto"


def test_paths_may_be_paths():
    assert config(images=Path("a") / "b", holdout=Path("c")).images == str(Path("a") / "b")


def test_every_setting_is_described():
    assert [name for name, field in TrainConfig.model_fields.items() if not (field.description or "").strip()] == []


def test_nothing_is_left_to_choose_in_a_resolved_config():
    text = str({name: field.annotation for name, field in ResolvedConfig.model_fields.items()})
    assert "'auto'" not in text.replace("preset", "")


@given(
    st.fixed_dictionaries(
        {"name": st.just("clay"), "images": st.text(min_size=1).filter(lambda s: "\x00" not in s)},
        optional={
            "steps": st.integers(1, 10**6),
            "learning_rate": st.floats(0, 1),
            "trigger": st.text(st.characters(exclude_categories=["Cs"])),
            "targets": st.just(["attention", "unet.mid_block"]),
            "flip": st.booleans(),
            "sample_prompts": st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=3),
        },
    )
)
def test_toml_and_back(values):
    before = config(**values)
    assert TrainConfig(**tomllib.loads(before.toml())) == before


def test_load_says_file_and_key(tmp_path):
    path = tmp_path / "clay.toml"
    path.write_text(tomlkit.dumps({"name": "clay", "images": "pictures", "rnak": 4}), encoding="utf-8")
    with pytest.raises(Error, match=r"clay\.toml.*'rnak'.*'rank'"):
        TrainConfig.load(path)
    path.write_text("name = 'clay'\nsteps = = 3\n", encoding="utf-8")
    with pytest.raises(Error, match=r"clay\.toml is not valid TOML.*line 2"):
        TrainConfig.load(path)
    with pytest.raises(Error, match=r"There is no config file .*none\.toml"):
        TrainConfig.load(tmp_path / "none.toml")


def test_what_is_given_beside_the_file_wins(tmp_path):
    path = tmp_path / "clay.toml"
    path.write_text(config(steps=5, rank=8).toml(), encoding="utf-8")
    loaded = TrainConfig.load(path, steps=7)
    assert loaded.steps == 7 and loaded.rank == 8


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("eps=1e-6", {"eps": 1e-6}),
        (("betas=[0.9, 0.99]", "amsgrad=true", "k = 3"), {"betas": [0.9, 0.99], "amsgrad": True, "k": 3}),
        ("step_rules=1:100,0.1", {"step_rules": "1:100,0.1"}),
        ("name='a b'", {"name": "a b"}),
        ({"power": 2}, {"power": 2}),
        ((), {}),
    ],
)
def test_arguments_from_a_command_line(given, read):
    before = config(schedule_args=given)
    assert before.schedule_args == read
    assert TrainConfig(**tomllib.loads(before.toml())) == before


@pytest.mark.parametrize("given", ["power", "=3", {"a": {"b": 1}}, 3])
def test_arguments_that_are_none(given):
    with pytest.raises(Error, match="optimiser_args = "):
        config(optimiser_args=given)
