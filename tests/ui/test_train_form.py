import pytest

from sdlora import Error
from sdlora.data.doctor import examine
from sdlora.training.config import TrainConfig
from ui.train.estimate import estimate, presets
from ui.train.fields import ELSEWHERE, advanced, all_fields, form_of, read_form


def test_every_setting_of_the_schema_is_in_the_form_or_asked_for_elsewhere():
    assert {*all_fields(), *ELSEWHERE} == set(TrainConfig.model_fields)
    assert all(field.help for field in advanced())


def test_an_empty_form_leaves_everything_to_the_preset():
    texts = dict.fromkeys(all_fields(), "") | {"name": "ink"}
    assert read_form(texts, images="here").model_fields_set == {"name", "images"}


def test_a_form_means_what_the_command_line_means():
    texts = {
        "name": "ink",
        "steps": "20",
        "flip": "on",
        "buckets": "off",
        "learning_rate": "2e-3",
        "targets": "attention, unet.up_blocks",
        "more_resolutions": "96, 128",
        "schedule": "cosine_with_restarts",
        "schedule_args": "num_cycles=3\nlr_end=1e-6",
        "sample_prompts": "a fox, running\na house",
        "caption_suffix": " .",
        "merged": "my ink:0.8\nclay",
    }
    config = read_form(texts, images="here")
    assert config.model_dump(exclude_unset=True) == {
        "name": "ink",
        "images": "here",
        "steps": 20,
        "flip": True,
        "buckets": False,
        "learning_rate": 2e-3,
        "targets": ["attention", "unet.up_blocks"],
        "more_resolutions": [96, 128],
        "schedule": "cosine_with_restarts",
        "schedule_args": {"num_cycles": 3, "lr_end": 1e-6},
        "sample_prompts": ["a fox, running", "a house"],
        "caption_suffix": " .",
        "merged": ["my ink:0.8", "clay"],
    }
    assert read_form(form_of(config), images="here") == config


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        ({"name": "../up"}, "name = '../up' can't be used"),
        ({"name": ""}, "has no name"),
        ({"name": "a", "steps": "many"}, "steps = 'many' can't be used"),
        ({"name": "a", "sample_prompts": "/etc/passwd.txt"}, "write the prompts themselves"),
        ({"name": "a", "merged": "clay, ../private/ink:0.8"}, "an adapter of the library by its name"),
        ({"name": "a", "loss": "best"}, "loss = 'best' can't be used"),
    ],
)
def test_a_mistake_is_one_sentence(texts, sentence):
    with pytest.raises(Error, match=sentence.replace("(", r"\(")):
        read_form(texts, images="here")


def test_steps_are_foretold_by_preset_images_and_what_is_given():
    report = examine("sample:ink")
    images = len(report.frames)

    def foretold(**settings):
        return estimate(TrainConfig(name="a", images="sample:ink", **settings), "mini", report, iter(()), False)

    usual = foretold()
    assert usual.seconds is usual.memory is None
    assert usual.epochs == pytest.approx(usual.steps * usual.batch / images)
    assert foretold(steps=30).steps == 30
    assert foretold(epochs=2, batch_size=1).steps == 2 * images
    assert any("measure one step to know" in sentence for sentence in usual.sentences)
    with pytest.raises(Error, match="no preset 'none' for mini: there is auto or character or quality or style"):
        foretold(preset="none")
    assert presets("mini") == ["auto", "character", "quality", "style"]


def test_a_usual_number_that_is_typed_overrules_the_preset():
    config = read_form({"name": "ink", "preset": "quality", "ema": "0"}, images="here")
    assert config.ema == 0 and "ema" in config.model_fields_set
    assert form_of(config)["ema"] == "0"
