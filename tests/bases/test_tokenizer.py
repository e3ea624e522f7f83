"""The CLIP vocabulary that single checkpoints read prompts with."""

import pytest

from sdlora.bases.geometry import family_config
from tests.bases.written import narrow


@pytest.mark.parametrize(("family", "pads"), [("sd1", [49407]), ("sd2", [0]), ("sdxl", [49407, 0])])
def test_known_ids_and_padding(family, pads):
    tokenizers = narrow(family).tokenizers
    assert len(tokenizers) == len(family_config(family)["text_encoders"])
    for tokenizer, pad in zip(tokenizers, pads, strict=True):
        ids = tokenizer("a photo of a cat", padding="max_length", truncation=True).input_ids
        assert ids[:7] == [49406, 320, 1125, 539, 320, 2368, 49407]
        assert ids[7:] == [pad] * 70
        assert (tokenizer.model_max_length, len(tokenizer)) == (77, 49408)


def test_case_and_spaces_do_not_matter_and_other_scripts_do():
    tokenizer = narrow("sd1").tokenizers[0]
    assert tokenizer("A  Photo of a\nCAT").input_ids == tokenizer("a photo of a cat").input_ids
    assert 49407 not in tokenizer("日本 Grüße 🦊").input_ids[1:-1]
