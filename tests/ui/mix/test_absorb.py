import pytest

from sdlora import Error
from sdlora.adapters.collection import Collection
from sdlora.resources import SAMPLE_ADAPTERS
from ui.mix.absorb import absorb

INFOTEXT = """a fox <lora:sample-clay:0.5> <lora:gone:1>
Negative prompt: blurry
Steps: 12, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 5.5, Seed: 77, Size: 128x192, Model: mini"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("library")
    found = Collection(folder / "adapters", [SAMPLE_ADAPTERS], folder / "memory.json")
    found.refresh()
    return found


@pytest.mark.parametrize("prompt", ["", "a fox", "a <b> fox", "style: oil, mood: dark, light: soft", "a (fox:1.2)"])
def test_a_prompt_is_left_alone(library, prompt):
    assert absorb(prompt, library, ["mini"]) is None


def test_tags_become_adapters_that_come_to_the_others(library):
    found = absorb("a fox <lora:sample-ink:0.6:0.3>, night <lora:gone:1> <hypernet:x:1>", library, ["mini"])
    assert found.settings.prompt == "a fox , night"
    assert found.settings.mix == {"sample-ink": {"unet": 0.3, "text": 0.6}}
    assert found.settings.add
    assert found.settings.steps is None
    assert [sentence for sentence in found.left_out if "gone" in sentence]


def test_parameters_become_settings(library):
    sent = absorb(INFOTEXT, library, ["mini", "other"]).settings
    assert (sent.prompt, sent.negative, sent.base) == ("a fox", "blurry", "mini")
    assert (sent.steps, sent.guidance, sent.seed) == (12, 5.5, 77)
    assert (sent.sampler, sent.width, sent.height) == ("DPM++ 2M Karras", 128, 192)
    assert sent.mix == {"sample-clay": {"unet": 0.5, "text": 0.5}}
    assert not sent.add


def test_what_is_not_here_is_left_out_and_said(library):
    text = INFOTEXT.replace("Model: mini", "Model: elsewhere").replace("DPM++ 2M", "Unheard of")
    found = absorb(text, library, ["mini"])
    assert found.settings.base is None
    assert found.settings.sampler is None
    assert len(found.left_out) == 3


def test_an_adapter_of_another_name_is_known_by_its_hash(library):
    short_hash = library.item("sample-ink").short_hash
    text = INFOTEXT.replace("gone", "renamed") + f', Lora hashes: "renamed: {short_hash}"'
    assert set(absorb(text, library, ["mini"]).settings.mix) == {"sample-clay", "sample-ink"}


def test_a_tag_that_makes_no_sense_is_one_sentence(library):
    with pytest.raises(Error, match="for a weight"):
        absorb("a fox <lora:sample-ink:much>", library, ["mini"])
