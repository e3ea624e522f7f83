"""Real models of transformers, tiny and with random weights: what they say is nonsense, how they are asked is not."""

import pytest
import torch

from sdlora.captioning.captioners import load_captioner
from sdlora.captioning.language_model import LanguageModel
from sdlora.captioning.subjects import Wanted
from sdlora.errors import Error
from tests.captioning.tiny import tiny_blip, tiny_florence, tiny_smolvlm
from tests.data.planted import scene

MAKERS = {"blip": tiny_blip, "smolvlm": tiny_smolvlm, "florence": tiny_florence}


@pytest.fixture(scope="module", params=MAKERS)
def folder(request, tmp_path_factory):
    return MAKERS[request.param](tmp_path_factory.mktemp(request.param))


def test_a_folder_is_loaded_and_describes_always_the_same(folder):
    captioner = load_captioner(str(folder))
    assert isinstance(captioner, LanguageModel)
    said = captioner.describe(scene(1, (70, 40)), Wanted("everything"))
    assert said == captioner.describe(scene(1, (70, 40)), Wanted("everything"))
    assert "<" not in said and "[" not in said and "User" not in said and "Describe" not in said


def test_incomplete_weights_are_refused(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    weights = load_file(copy / "model.safetensors")
    weights.pop(next(name for name in sorted(weights) if "vision" in name and name.endswith("weight")))
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(Error, match="incomplete"):
        load_captioner(str(copy))


def test_what_is_no_model(tmp_path):
    with pytest.raises(Error, match="could not be loaded"):
        load_captioner(str(tmp_path))


def test_a_conversation_has_the_instruction_and_the_answer_only(tmp_path):
    """The prompt that the model got holds our words; what it gives back does not."""
    captioner = LanguageModel.load(str(tiny_smolvlm(tmp_path)))
    asked = []
    generate = captioner._model.generate

    def listening(**inputs):
        asked.append(captioner._processor.decode(inputs["input_ids"][0]))
        answer = torch.tensor([[captioner._processor.tokenizer.convert_tokens_to_ids(word) for word in ("red", "fox")]])
        return torch.cat([inputs["input_ids"], answer], dim=1)

    captioner._model.generate = listening
    said = captioner.describe(scene(2), Wanted("style", prompt="a small red fox"))
    assert said == "red fox" and "small red fox" in asked[0] and asked[0].count("<image>") == 4
    captioner._model.generate = generate
